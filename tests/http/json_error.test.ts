import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { locateJsonError } from "../../src/http/json_error.ts";

const isJson = (text: string) => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

describe("locateJsonError()", () => {
  const cases: [text: string, offset: number, character: string | undefined][] = [
    ["{nonsense", 1, "n"],
    ["[1,2", 4, undefined],
    ["[1,,2]", 3, ","],
    ["[1,]", 3, "]"],
    ['{"a":1,}', 7, "}"],
    ['{"a" 1}', 5, "1"],
    ["{1:2}", 1, "1"],
    ["", 0, undefined],
    ["[1] x", 4, "x"],
    ["[1]]", 3, "]"],
    ["[1}", 2, "}"],
    ['"\u0001"', 1, "\u0001"],
    ['"\\x"', 2, "x"],
    ['"\\u12g4"', 5, "g"],
    ['"abc', 4, undefined],
    ['"abc\\', 5, undefined],
    ["01", 1, "1"],
    ["-", 0, "-"],
    ["1.", 1, "."],
    ["nul", 0, "n"],
    ["truefalse", 4, "f"],
    ["a=1&b=2", 0, "a"],
    ["[😀]", 1, "😀"],
  ];
  for (const [text, offset, character] of cases) {
    test(`finds position ${offset} in ${JSON.stringify(text)}`, () => {
      expect(locateJsonError(text)).toMatchObject({ offset, character });
    });
  }

  test("counts lines and columns", () => {
    expect(locateJsonError('{\n  "a": 1,\n  b: 2\n}')).toEqual({
      offset: 14,
      line: 3,
      column: 3,
      character: "b",
    });
  });

  test("is not troubled by depth or length", () => {
    const deep = "[".repeat(1_000_000);
    expect(locateJsonError(deep)?.offset).toBe(deep.length);
    const long = `["${"x".repeat(5_000_000)}" 1]`;
    expect(locateJsonError(long)).toMatchObject({ offset: long.length - 2, character: "1" });
  });

  test("finds an error exactly where JSON.parse finds one", () => {
    const jsonish = fc.array(
      fc.constantFrom(...'[]{},:"\\ \n\tu019-+.eE', "true", "false", "null", '"a"', "\\u00e9", "é"),
      { maxLength: 12 },
    ).map((parts) => parts.join(""));
    fc.assert(
      fc.property(jsonish, (text) => {
        expect(locateJsonError(text) === undefined).toBe(isJson(text));
      }),
      { numRuns: 20_000 },
    );
  });

  test("finds nothing in what JSON.stringify writes, and something in what is cut off it", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.nat(), (value, seed) => {
        const text = JSON.stringify([value], undefined, seed % 3);
        expect(locateJsonError(text)).toBeUndefined();
        const cut = text.slice(0, seed % text.length);
        expect(locateJsonError(cut)?.offset).toBeLessThanOrEqual(cut.length);
      }),
    );
  });
});
