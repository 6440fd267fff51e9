import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  decodeFromIsolate,
  decodeToIsolate,
  encodeFromIsolate,
  encodeToIsolate,
  type FromIsolate,
  type ToIsolate,
} from "../../src/isolates/protocol.ts";

const headers = fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true });
const number = fc.nat();

const toIsolate: fc.Arbitrary<ToIsolate> = fc.oneof(
  fc.record({
    kind: fc.constant("init" as const),
    init: fc.record({
      taskPaths: fc.array(fc.string()),
      demo: fc.boolean(),
      nodeId: fc.string(),
      hasMemoryLimit: fc.boolean(),
    }),
  }),
  fc.record({
    kind: fc.constant("run" as const),
    head: fc.record({
      run: number,
      id: fc.string(),
      task: fc.string({ unit: "binary" }),
      attempt: number,
      redelivered: fc.boolean(),
      headers,
    }),
    body: fc.string({ unit: "binary" }),
  }),
  fc.record({
    kind: fc.constant("interrupt" as const),
    run: number,
    why: fc.constantFrom("soft_limit" as const, "cancelled" as const, "stopping" as const),
  }),
  fc.record({
    kind: fc.constant("told" as const),
    ask: number,
    answer: fc.oneof(
      fc.record({ json: fc.json({ stringUnit: "binary" }) }),
      fc.record({ failure: fc.record({ type: fc.string(), message: fc.string() }) }),
    ),
  }),
  fc.constant({ kind: "measure" as const }),
  fc.constant({ kind: "leave" as const }),
);

const memory = fc.record({ heapBytes: number, thread: number }, { requiredKeys: ["heapBytes"] });

const fromIsolate: fc.Arbitrary<FromIsolate> = fc.oneof(
  fc.record({
    kind: fc.constant("ready" as const),
    definitions: fc.constant({
      tasks: [{
        name: "a",
        file: "/t.ts",
        queue: "q",
        timeoutMs: 1,
        isolation: "worker" as const,
      }],
      consumers: [{
        name: "consume c",
        file: "/t.ts",
        queue: "c",
        timeoutMs: 1,
        isolation: "worker",
        exchange: "e",
        keys: ["a.*"],
        prefetch: 2,
        noAck: false,
      }],
      schedules: [{
        name: "s",
        spec: { kind: "every" as const, everyMs: 1_000 },
        task: "a",
        input: "[1]",
        file: "/t.ts",
      }],
      periodic: [{ id: "c", name: "n", file: "/t.ts", intervalMs: 2, timeoutMs: 1 }],
    }),
    warnings: fc.array(fc.string()),
    memory,
  }, { requiredKeys: ["kind", "definitions", "warnings"] }),
  fc.record({ kind: fc.constant("measured" as const), memory }),
  fc.record({ kind: fc.constant("failed" as const), reason: fc.string(), file: fc.string() }, {
    requiredKeys: ["kind", "reason"],
  }),
  fc.record({
    kind: fc.constant("returned" as const),
    run: number,
    headers,
    resultJson: fc.json({ stringUnit: "binary" }),
  }),
  fc.record({
    kind: fc.constant("ended" as const),
    run: number,
    end: fc.constantFrom(
      { kind: "unknown_task" as const },
      { kind: "malformed" as const, reason: "two\nlines" },
      { kind: "threw" as const, error: { type: "E", message: "m\n" }, headers: { a: "b" } },
      {
        kind: "threw" as const,
        error: { type: "E", message: "m", issues: [{ message: "i", path: ["0", "a"] }] },
        headers: {},
        retry: { afterMs: 5 },
        rejected: true as const,
      },
    ),
  }),
  fc.record({
    kind: fc.constant("progress" as const),
    run: number,
    progress: fc.record({ fraction: fc.constantFrom(0, 0.5, 1), message: fc.string() }, {
      requiredKeys: ["fraction"],
    }),
  }),
  fc.record({
    kind: fc.constant("ask" as const),
    ask: number,
    what: fc.string(),
    request: fc.constantFrom(null, 1, { channel: "a\nb" }),
    origin: fc.record({ task: fc.string(), id: fc.string() }),
    text: fc.string({ unit: "binary" }),
  }, { requiredKeys: ["kind", "ask", "what", "request", "text"] }),
  fc.record({
    kind: fc.constant("log" as const),
    log: fc.record({
      level: fc.constantFrom("info" as const, "error" as const),
      message: fc.string(),
      fields: fc.constant({ a: [1, { b: null }] }),
    }),
  }),
  fc.record({
    kind: fc.constantFrom("retire" as const, "broken" as const),
    reason: fc.string(),
  }),
  fc.constant({ kind: "left" as const }),
);

describe("the isolates' protocol", () => {
  test("what goes to an isolate comes out as it went in", () => {
    fc.assert(fc.property(toIsolate, (message) => {
      expect(decodeToIsolate(encodeToIsolate(message))).toEqual(message);
    }));
  });

  test("what comes from an isolate comes out as it went in", () => {
    fc.assert(fc.property(fromIsolate, (message) => {
      expect(decodeFromIsolate(encodeFromIsolate(message))).toEqual(message);
    }));
  });

  test("what a task's code posts by itself is not taken for a message", () => {
    fc.assert(fc.property(fc.anything(), (posted) => {
      if (typeof posted === "string" && /^[A-Z]\[/.test(posted)) return;
      expect(decodeFromIsolate(posted)).toBeUndefined();
    }));
  });
});
