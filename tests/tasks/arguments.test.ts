import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as v from "valibot";
import { checkInput, readArguments } from "../../src/tasks/arguments.ts";

const EMBED = { callbacks: null, errbacks: null, chain: null, chord: null };
const body = (args: unknown, kwargs: unknown) => JSON.stringify([args, kwargs, EMBED]);

describe("readArguments()", () => {
  test("positional arguments come as they are, keyword arguments as one object behind them", () => {
    expect(readArguments(body([1, "b"], {}))).toEqual({ kind: "arguments", values: [1, "b"] });
    expect(readArguments(body([], { a: 1 }))).toEqual({ kind: "arguments", values: [{ a: 1 }] });
    expect(readArguments(body([1], { a: 1 }))).toEqual({
      kind: "arguments",
      values: [1, { a: 1 }],
    });
    expect(readArguments(body([], {}))).toEqual({ kind: "arguments", values: [] });
  });

  test.each([
    ["", "not JSON"],
    ["{", "not JSON"],
    ["[[1],{}]", "triple"],
    ["{}", "triple"],
    ["null", "triple"],
    ['["a",{},null]', "args are not an array"],
    ["[[],[],null]", "kwargs are not an object"],
    ["[[],null,null]", "kwargs are not an object"],
  ])("%p is malformed, and it says why", (text, why) => {
    expect(readArguments(text)).toMatchObject({
      kind: "malformed",
      reason: expect.stringContaining(why),
    });
  });

  test("never throws, whatever the text", () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      expect(["arguments", "malformed"]).toContain(readArguments(text).kind);
    }));
  });
});

describe("checkInput()", () => {
  const point = v.object({ x: v.number() });

  test("one argument is checked as it is, several as an array", () => {
    expect(checkInput(point, [{ x: 1 }])).toEqual({ kind: "valid", value: { x: 1 } });
    expect(checkInput(v.tuple([v.number(), v.string()]), [1, "b"])).toEqual({
      kind: "valid",
      value: [1, "b"],
    });
  });

  test("gives the schema's output", () => {
    const trimmed = v.pipe(v.string(), v.trim());
    expect(checkInput(trimmed, [" a "])).toEqual({ kind: "valid", value: "a" });
  });

  test("no argument may please the schema as nothing or as an empty object", () => {
    expect(checkInput(v.optional(v.number(), 7), [])).toEqual({ kind: "valid", value: 7 });
    const allOptional = v.object({ x: v.optional(v.number()) });
    expect(checkInput(allOptional, [])).toEqual({ kind: "valid", value: {} });
    expect(checkInput(point, [])).toMatchObject({ kind: "invalid" });
  });

  test("tells the findings with their places as texts", () => {
    const list = v.object({ items: v.array(point) });
    expect(checkInput(list, [{ items: [{ x: 1 }, { x: "b" }] }])).toEqual({
      kind: "invalid",
      issues: [{ message: expect.stringContaining("number"), path: ["items", "1", "x"] }],
    });
  });

  test("awaits a schema that answers later", async () => {
    const later = v.pipeAsync(v.number(), v.checkAsync((x) => Promise.resolve(x > 1), "too small"));
    expect(await checkInput(later, [2])).toEqual({ kind: "valid", value: 2 });
    expect(await checkInput(later, [1])).toMatchObject({
      kind: "invalid",
      issues: [{ message: "too small" }],
    });
  });

  test("tells at most 100 findings", () => {
    const many = checkInput(v.array(v.number()), [Array.from({ length: 500 }, () => "b")]);
    expect(many).toMatchObject({ kind: "invalid" });
    if (!(many instanceof Promise) && many.kind === "invalid") {
      expect(many.issues).toHaveLength(100);
    }
  });
});
