import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { describeFailure } from "../../src/tasks/failure.ts";

class ValueError extends Error {}

describe("describeFailure()", () => {
  test("the type is the error's own name, else its class", () => {
    expect(describeFailure(new ValueError("no")).type).toBe("ValueError");
    expect(describeFailure(new TypeError("no")).type).toBe("TypeError");
    expect(describeFailure(Object.assign(new Error("no"), { name: "Odd" })).type).toBe("Odd");
    expect(describeFailure(new DOMException("no", "AbortError")).type).toBe("AbortError");
    expect(describeFailure(new Error("no")).type).toBe("Error");
  });

  test.each([
    ["a text", "boo", { type: "Error", message: "boo" }],
    ["nothing", undefined, { type: "Error", message: "undefined" }],
    ["null", null, { type: "Error", message: "null" }],
    ["a number", 5, { type: "Error", message: "5" }],
    ["an object", { code: 1 }, { type: "Error", message: '{"code":1}' }],
    ["an object with a message", { message: "boo" }, { type: "Error", message: "boo" }],
    ["a symbol", Symbol("s"), { type: "Error", message: "Symbol(s)" }],
  ])("%s that was thrown is told", (_what, thrown, expected) => {
    expect(describeFailure(thrown)).toEqual(expected);
  });

  test("tells causes in the stack", () => {
    const error = new Error("outer", { cause: new TypeError("inner", { cause: "a text" }) });
    expect(describeFailure(error).stack).toMatch(
      /Error: outer.*Caused by: .*TypeError: inner.*Caused by: a text/s,
    );
  });

  test("survives causes in a circle", () => {
    const error = new Error("round");
    error.cause = error;
    expect(describeFailure(error).stack?.match(/Caused by/g)).toHaveLength(5);
  });

  test("bounds message and stack", () => {
    const { message, stack } = describeFailure(new Error("x".repeat(1_000_000)));
    expect(message.length).toBeLessThan(9_000);
    expect(message).toEndWith("(1000000 characters)");
    expect(stack?.length).toBeLessThan(17_000);
  });

  test("gives well-formed Unicode", () => {
    expect(describeFailure(new Error("\ud800")).message.isWellFormed()).toBe(true);
    const atTheEdge = `${"x".repeat(8_191)}😀`;
    expect(describeFailure(new Error(atTheEdge)).message.isWellFormed()).toBe(true);
  });

  test("what cannot be read is told as that", () => {
    const hostile = new Proxy({}, {
      get: () => {
        throw new Error("no");
      },
      getPrototypeOf: () => {
        throw new Error("no");
      },
    });
    expect(describeFailure(hostile)).toEqual({
      type: "Error",
      message: "The task threw a value that cannot be read",
    });
  });

  test("never throws", () => {
    fc.assert(fc.property(fc.anything(), (thrown) => {
      expect(typeof describeFailure(thrown).message).toBe("string");
    }));
  });
});
