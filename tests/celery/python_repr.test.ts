/** Values as Python shows them. The right-hand sides are what CPython 3.11 prints. */
import { describe, expect, test } from "bun:test";
import { pythonException, pythonRepr, pythonText } from "../../src/celery/python_repr.ts";

describe("pythonRepr()", () => {
  test.each([
    [[1, 2.5, true, false, null], "[1, 2.5, True, False, None]"],
    [{ a: 1, "b c": [] }, "{'a': 1, 'b c': []}"],
    [{}, "{}"],
    ["it's", `"it's"`],
    [`it's "so"`, `'it\\'s "so"'`],
    ['say "so"', `'say "so"'`],
    ["a\\b\n\t\r\u0007é", "'a\\\\b\\n\\t\\r\\x07é'"],
    [-0.5, "-0.5"],
    [1e21, "1e+21"],
    [undefined, "None"],
  ])("shows %j", (value, shown) => {
    expect(pythonRepr(value)).toBe(shown);
  });

  test("shows no more of a large value than it may", () => {
    const large = Array.from({ length: 1e6 }, (_, index) => ({ index, text: "x".repeat(100) }));
    const before = performance.now();
    const shown = pythonRepr(large);
    expect(performance.now() - before).toBeLessThan(500);
    expect(shown.length).toBe(1_024 + 3);
    expect(shown).toEndWith("...");
    expect(pythonRepr("y".repeat(1e7), 10)).toBe("'yyyyyyyyy...");
    expect(pythonRepr("1234", 6)).toBe("'1234'");
  });

  test("goes as deep as JSON does, within its bound", () => {
    expect(pythonRepr(JSON.parse("[".repeat(5_000) + "]".repeat(5_000))).length).toBe(1_027);
  });
});

test("pythonText() and pythonException() show texts and errors", () => {
  expect(pythonText("x")).toBe("'x'");
  expect(pythonException("ValueError", "boom")).toBe("ValueError('boom')");
});
