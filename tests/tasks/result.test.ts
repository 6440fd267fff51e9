import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { encodeHeaders, encodeResult } from "../../src/tasks/result.ts";

describe("encodeResult()", () => {
  test("gives JSON text, and null for nothing", () => {
    expect(encodeResult("t", { a: [1, "b", null] })).toBe('{"a":[1,"b",null]}');
    expect(encodeResult("t", undefined)).toBe("null");
  });

  test.each([
    ["a BigInt", 1n],
    ["a BigInt inside", { n: 1n }],
    ["a function", () => 1],
    ["a symbol", Symbol("s")],
  ])("refuses %s, naming the task", (_what, value) => {
    expect(() => encodeResult("images.resize", value)).toThrow(
      /^Cannot send the result of task "images.resize": it must be what JSON carries/,
    );
  });

  test("refuses a cycle, naming the task", () => {
    const self: { self?: unknown } = {};
    self.self = self;
    expect(() => encodeResult("t", self)).toThrow(/result of task "t".*JSON/s);
  });

  test("refuses a result that is too long", () => {
    expect(() => encodeResult("t", "x".repeat(64 * 1024 * 1024))).toThrow(/at most 67108864/);
  });

  test("carries any JSON value", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => {
      expect(encodeResult("t", value)).toBe(JSON.stringify(value));
    }));
  });
});

describe("encodeHeaders()", () => {
  test("gives lower-case names and texts", () => {
    expect(encodeHeaders("t", { "X-Width": "10", "x-n": 5, "x-b": true, "x-u": undefined }))
      .toEqual({ "x-width": "10", "x-n": "5", "x-b": "true" });
  });

  test.each([
    ["", "v"],
    ["a b", "v"],
    ["a:b", "v"],
    ["a\r\nb", "v"],
    ["ä", "v"],
    ["x-a", "v\r\nset-cookie: a=b"],
    ["x-a", "nul\0"],
    ["x-a", "€"],
    ["x-a", { an: "object" }],
    ["x-a", null],
    ["x-a", "v".repeat(40_000)],
  ])("refuses %p: %p, naming the task and the header", (name, value) => {
    expect(() => encodeHeaders("images.resize", { [name]: value })).toThrow(
      `Cannot send header ${JSON.stringify(name)} of task "images.resize"`,
    );
  });

  test("what it lets through, HTTP takes", () => {
    fc.assert(fc.property(fc.dictionary(fc.string(), fc.string()), (headers) => {
      let encoded: Readonly<Record<string, string>>;
      try {
        encoded = encodeHeaders("t", headers);
      } catch {
        return;
      }
      expect(() => new Headers(encoded)).not.toThrow();
    }));
  });
});
