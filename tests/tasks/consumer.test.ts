import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { type ConsumeOptions, describeConsumer } from "../../src/tasks/consumer.ts";
import {
  type Envelope,
  type HeaderField,
  type Properties,
  readConsumed,
  writeConsumed,
} from "../../src/tasks/consumed_message.ts";
import { readConsumed as readDelivery } from "../../src/worker/consumed.ts";
import { DefinitionError } from "../../src/tasks/errors.ts";
import { TaskRegistry } from "../../src/tasks/registry.ts";
import { deliveryOf } from "../support/deliveries.ts";

describe("describeConsumer()", () => {
  test("fills in defaults", () => {
    expect(describeConsumer({ queue: "q" }, "/t.ts")).toEqual({
      name: "consume q",
      file: "/t.ts",
      queue: "q",
      timeoutMs: 300_000,
      isolation: "worker",
      keys: [],
      prefetch: 10,
      noAck: false,
    });
  });

  test("takes all options", () => {
    expect(describeConsumer({
      queue: "q",
      exchange: "e",
      type: "topic",
      keys: ["a.*", "a.*", ""],
      prefetch: 3,
      timeout: "2s",
      softTimeout: "1s",
      isolation: "process",
      retry: { limit: 1, base: "5ms" },
    }, "/t.ts")).toMatchObject({
      exchange: "e",
      type: "topic",
      keys: ["a.*", ""],
      prefetch: 3,
      timeoutMs: 2_000,
      softTimeoutMs: 1_000,
      isolation: "process",
      retry: { limit: 1, baseMs: 5 },
    });
  });

  test("reads along with an exchange that is reserved, and does not declare it", () => {
    expect(describeConsumer({ queue: "q", exchange: "cox.pubsub" }, "/t.ts").exchange)
      .toBe("cox.pubsub");
  });

  // What a task file in JavaScript may hold.
  const bad: readonly (readonly [object, RegExp])[] = [
    [{ queue: "" }, /Cannot consume queue "" in \/t\.ts: its name must not be empty/],
    [{ queue: "cox.jobs" }, /its name is reserved/],
    [{ queue: "celeryev" }, /its name is reserved/],
    [{ queue: "amq.x" }, /its name is reserved/],
    [{ queue: "reply.x" }, /its name is reserved/],
    [{ queue: "q", exchange: "" }, /its exchange's name "" must not be empty/],
    [{ queue: "q", exchange: "cox.x", type: "topic" }, /exchange's name "cox.x" is reserved/],
    [{ queue: "q", exchange: "celery", type: "direct", keys: "k" }, /"celery" is reserved/],
    [{ queue: "q", exchange: "e", type: "" }, /type must be one of fanout, .*, got ""/],
    [{ queue: "q", exchange: "e", type: "topik" }, /type must be one of .*, got "topik"/],
    [{ queue: "q", type: "topic" }, /type has no meaning without exchange/],
    [{ queue: "q", keys: "a" }, /keys have no meaning without exchange/],
    [{ queue: "q", exchange: "e", type: "direct" }, /keys are needed/],
    [{ queue: "q", exchange: "e", keys: [] }, /keys must be/],
    [{ queue: "q", exchange: "e", keys: [7] }, /the key 7 must be a text/],
    [{ queue: "q", exchange: "e", type: "topic", arguments: {} }, /headers exchanges alone/],
    [{ queue: "q", exchange: "e", arguments: { a: {} } }, /argument "a" must be/],
    [{ queue: "q", exchange: "e", arguments: { "x-match": "some" } }, /x-match must be/],
    [{ queue: "q", exchange: "e", arguments: [] }, /arguments must be an object/],
    [{ queue: "q", prefetch: 0 }, /prefetch must be a whole number from 1 to 1000, got 0/],
    [{ queue: "q", prefetch: 1.5 }, /prefetch must be/],
    [{ queue: "q", noAck: "yes" }, /noAck must be true or false/],
    [{ queue: "q", noAck: true, retry: {} }, /retry has no meaning with noAck/],
    [{ queue: "q", timeout: "fast" }, /timeout: /],
    [{ queue: "q", retry: { cap: "1h" } }, /retry\.cap must be at most 20m, got 1h/],
  ];
  for (const [options, message] of bad) {
    test(`refuses ${JSON.stringify(options)}`, () => {
      const describeIt = () => describeConsumer(options as ConsumeOptions, "/t.ts");
      expect(describeIt).toThrow(DefinitionError);
      expect(describeIt).toThrow(message);
    });
  }
});

test("addConsumer() refuses a second consumer of a queue, and names both files", () => {
  const registry = new TaskRegistry();
  const add = (file: string) =>
    registry.addConsumer({
      descriptor: describeConsumer({ queue: "q" }, file),
      input: undefined,
      run: () => undefined,
    });
  add("/a.ts");
  expect(() => add("/b.ts")).toThrow(/queue "q" in \/b\.ts: it is already consumed in \/a\.ts/);
  registry.seal();
  expect(() => add("/c.ts")).toThrow(/define it at the top/);
});

describe("a consumed message", () => {
  const envelope: Envelope = { exchange: "e", routingKey: "k", redelivered: false, queue: "q" };

  test("crosses to the isolate as it is, whatever its headers hold", () => {
    const field = fc.letrec<{ field: HeaderField }>((tie) => ({
      field: fc.oneof(
        { maxDepth: 3 },
        fc.string(),
        fc.integer(),
        fc.constantFrom(0.5, Infinity, -Infinity, NaN),
        fc.bigInt(),
        fc.boolean(),
        fc.constant(null),
        fc.date({ noInvalidDate: true }),
        fc.uint8Array({ maxLength: 4 }),
        fc.array(tie("field"), { maxLength: 3 }),
        fc.dictionary(fc.string(), tie("field"), { maxKeys: 3 }),
      ),
    })).field;
    fc.assert(fc.property(fc.dictionary(fc.string(), field), fc.string(), (headers, body) => {
      const properties: Properties = { headers, deliveryMode: 1, contentType: "text/plain" };
      const written = writeConsumed(envelope, properties, new TextEncoder().encode(body));
      const read = readConsumed(written);
      // A byte order mark is not part of a text.
      const text = new TextDecoder().decode(new TextEncoder().encode(body));
      expect(read).toEqual({ kind: "arguments", values: [text, envelope, properties] });
    }));
  });

  test("keeps any bytes", () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => {
      const properties = { headers: {}, deliveryMode: 1, contentType: "application/octet-stream" };
      const read = readConsumed(writeConsumed(envelope, properties as Properties, bytes));
      expect(read.kind === "arguments" && read.values[0]).toEqual(new Uint8Array(bytes));
    }));
  });
});

test("readConsumed() believes a story only where a worker may have written it", () => {
  const headers = {
    "cox-exchange": "forged",
    "cox-consumed-id": "i",
    "cox-failures": 2,
    "cox-history": ["one", 2],
    own: 1,
  };
  const read = (exchange: string) =>
    readDelivery(
      deliveryOf({
        exchange,
        routingKey: "k",
        properties: { headers, messageId: "m" },
        body: new Uint8Array(),
      }),
      () => "new",
    );
  expect(read("shop")).toMatchObject({
    id: "m",
    failures: 0,
    envelope: { exchange: "shop", routingKey: "k" },
    properties: { headers },
  });
  expect(read("")).toMatchObject({
    id: "i",
    failures: 2,
    history: ["one"],
    envelope: { exchange: "forged", routingKey: "k" },
    properties: { headers: { own: 1 } },
  });
});
