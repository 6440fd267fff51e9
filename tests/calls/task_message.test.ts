import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import type { Message } from "../../src/broker/message.ts";
import { decompress } from "../../src/calls/wire/compression.ts";
import {
  deadLetter,
  decodeTask,
  encodeTask,
  isTaskHeader,
  republished,
  type TaskRequest,
} from "../../src/calls/wire/task_message.ts";
import { captured } from "../support/celery_fixtures.ts";
import { deliveryOf } from "../support/deliveries.ts";

const REQUEST: TaskRequest = {
  id: "0199a1b2-0000-7000-8000-000000000001",
  task: "math.add",
  input: { argsJson: "[1,2]", kwargsJson: "{}" },
  kind: "call",
  queue: "math",
  headers: {},
  origin: "front-1",
  version: "0.1.0",
};

function decoded(message: Message) {
  const result = decodeTask(deliveryOf(message));
  if (result.kind !== "task") throw new Error(result.reason);
  return result.task;
}

describe("decodeTask() on captured Celery messages", () => {
  const usable = captured("task").filter(({ scenario }) =>
    !["task_protocol1", "task_serializer_pickle_refused", "task_compression_bzip2"].includes(
      scenario,
    )
  );

  test.each(usable.map((row) => [row.scenario, row] as const))("reads %s", async (_, row) => {
    const { headers, delivery } = row;
    const task = decoded(delivery.message);
    expect(task.id).toBe(String(headers.id));
    expect(task.task).toBe(String(headers.task));
    expect(task.retries).toBe(Number(headers.retries));
    expect(task.kind).toBe("job");
    expect(task.isOurs).toBe(false);
    const [hard, soft] = headers.timelimit as [number | null, number | null];
    expect(task.timeoutMs).toBe(hard === null ? undefined : hard * 1000);
    expect(task.softTimeoutMs).toBe(soft === null ? undefined : soft * 1000);
    expect(task.etaAt).toBe(headers.eta === null ? undefined : Date.parse(String(headers.eta)));
    expect(task.expiresAt).toBe(
      headers.expires === null ? undefined : Date.parse(String(headers.expires)),
    );
    const body = task.isCompressed
      ? await decompress(delivery.message.body, 1_000_000)
      : delivery.message.body;
    const text = new TextDecoder().decode(body);
    // Python's JSON has bare Infinity and NaN: the isolate refuses such a body.
    const triple = JSON.parse(text.replaceAll(/-?\b(Infinity|NaN)\b/g, "null"));
    expect(triple).toBeArrayOfSize(3);
  });

  test.each([
    ["task_protocol1", 'no "task" and "id" headers'],
    ["task_serializer_pickle_refused", "application/x-python-serialize"],
    ["task_compression_bzip2", "application/x-bz2"],
  ])("refuses %s with its reason and its reply address", (scenario, reason) => {
    const row = captured("task").find((row) => row.scenario === scenario);
    const result = decodeTask(row!.delivery);
    expect(result).toMatchObject({ kind: "unusable", replyTo: expect.any(String) });
    expect(result.kind === "unusable" && result.reason).toContain(reason);
  });

  test("keeps a client's own headers for the task", () => {
    const row = captured("task").find(({ scenario }) => scenario === "task_headers_shadow");
    const own = Object.entries(row!.headers).filter(([name, value]) =>
      isTaskHeader(name) && ["string", "number", "boolean"].includes(typeof value)
    );
    expect(own.length).toBeGreaterThan(0);
    expect(decoded(row!.delivery.message).headers).toEqual(
      Object.fromEntries(own.map(([name, value]) => [name, String(value)])),
    );
  });
});

describe("encodeTask()", () => {
  test("writes every header that a Celery client gives a value and a worker reads", async () => {
    const { properties, routingKey, exchange } = await encodeTask({ ...REQUEST, replyTo: "r" });
    const celery = captured("task").find(({ scenario }) => scenario === "task_success")!;
    const optional = ["shadow", "group_index", "argsrepr", "kwargsrepr", "ignore_result"];
    // A real worker was seen to run messages without each of those that are null.
    for (const [name, value] of Object.entries(celery.headers)) {
      if (value !== null && !optional.includes(name)) {
        expect(properties.headers).toHaveProperty(name);
      }
    }
    expect(Object.values(properties.headers ?? {})).not.toContain(null);
    expect({ exchange, routingKey }).toEqual({ exchange: "", routingKey: "math" });
    expect(properties).toMatchObject({
      contentType: "application/json",
      contentEncoding: "utf-8",
      correlationId: REQUEST.id,
      replyTo: "r",
    });
  });

  test("writes whole numbers alone, and those within 32 bits", async () => {
    const { properties } = await encodeTask({
      ...REQUEST,
      timeoutMs: 1_500,
      softTimeoutMs: 250,
      expires: { at: Date.now() + 30_000, inMs: 30_000 },
    });
    const numbers = JSON.stringify(properties.headers).match(/(?<=[:,[])-?\d+(\.\d+)?(?=[,\]}])/g);
    for (const number of numbers ?? []) {
      expect(Number.isInteger(Number(number))).toBe(true);
      expect(Math.abs(Number(number))).toBeLessThan(2 ** 31);
    }
    expect(properties.headers?.timelimit).toEqual([2, 1]);
  });

  test("gives calls an expiration and jobs the header alone", async () => {
    const expires = { at: Date.now() + 3_000, inMs: 3_000 };
    const call = await encodeTask({ ...REQUEST, expires });
    const job = await encodeTask({ ...REQUEST, kind: "job", expires });
    expect(call.properties.expirationMs).toBe(3_000);
    expect(job.properties.expirationMs).toBeUndefined();
    expect(decoded(job).expiresAt).toBe(expires.at);
    expect([call.properties.persistent, job.properties.persistent]).toEqual([false, true]);
  });

  test("compresses a body over 32 KiB and no other", async () => {
    const text = JSON.stringify("x".repeat(40_000));
    const large = await encodeTask({
      ...REQUEST,
      input: { argsJson: `[${text}]`, kwargsJson: "{}" },
    });
    expect(large.properties.headers?.compression).toBe("application/x-gzip");
    expect(large.body.length).toBeLessThan(1_000);
    expect(decoded(large).isCompressed).toBe(true);
    const inflated = await decompress(large.body, 100_000);
    expect(JSON.parse(new TextDecoder().decode(inflated))[0]).toEqual(["x".repeat(40_000)]);
    expect(decoded(await encodeTask(REQUEST)).isCompressed).toBe(false);
  });

  test("is undone by decodeTask()", async () => {
    const name = fc.string({ minLength: 1, unit: "grapheme" });
    await fc.assert(fc.asyncProperty(
      fc.record({
        task: name,
        id: name,
        json: fc.json(),
        timeoutMs: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
        once: fc.boolean(),
        headers: fc.dictionary(fc.stringMatching(/^x-[a-c]{1,4}$/), fc.string()),
      }),
      async ({ json, ...given }) => {
        const message = await encodeTask({
          ...REQUEST,
          ...given,
          input: { argsJson: `[${json}]`, kwargsJson: "{}" },
        });
        const { task, id, timeoutMs, once, headers, kind } = decoded(message);
        expect({ task, id, timeoutMs, once, headers: { ...headers } }).toEqual({
          ...given,
          headers: { ...given.headers },
        });
        expect(kind).toBe("call");
        expect(JSON.parse(new TextDecoder().decode(message.body))[0]).toEqual([JSON.parse(json)]);
      },
    ));
  });
});

test("decompress() stops at its bound and names it", async () => {
  const bomb = await encodeTask({
    ...REQUEST,
    input: { argsJson: JSON.stringify(["y".repeat(1_000_000)]), kwargsJson: "{}" },
  });
  expect(bomb.body.length).toBeLessThan(10_000);
  expect(decompress(bomb.body, 100_000)).rejects.toThrow("larger than 100000 bytes");
  expect(decompress(new Uint8Array([1, 2, 3]), 100)).rejects.toThrow("not the zlib stream");
});

test("republished() strips what brokers wrote and keeps what senders wrote", async () => {
  const message = await encodeTask({ ...REQUEST, headers: { "x-tenant": "t" } });
  const returned: Message = {
    ...message,
    properties: {
      ...message.properties,
      expirationMs: 1,
      headers: {
        ...message.properties.headers,
        "x-death": [{ count: 1 }],
        "x-first-death-queue": "q",
        "x-delivery-count": 2,
      },
    },
  };
  const again = republished(returned, { queue: "other", headers: { "cox-hops": 1 } });
  expect(again.routingKey).toBe("other");
  expect(again.properties.expirationMs).toBeUndefined();
  expect(again.properties.headers).toEqual({ ...message.properties.headers, "cox-hops": 1 });
});

test("deadLetter() is persistent and tells why, when, whence and by whom", async () => {
  const letter = deadLetter(await encodeTask(REQUEST), {
    to: "cox.dead-letters",
    reason: "because",
    queue: "math",
    node: "w1",
    at: Date.UTC(2026, 0, 1),
  });
  expect(letter.routingKey).toBe("cox.dead-letters");
  expect(letter.properties.persistent).toBe(true);
  expect(letter.properties.headers).toMatchObject({
    "cox-dead-reason": "because",
    "cox-dead-queue": "math",
    "cox-node": "w1",
    "cox-dead-at": "2026-01-01T00:00:00.000+00:00",
  });
});

describe("decodeTask() on garbage", () => {
  const base = { exchange: "", routingKey: "q", body: new Uint8Array() };
  test.each([
    ["no headers", { contentType: "application/json" }, "protocol 2"],
    ["no content type", { headers: { id: "1", task: "t" } }, "missing"],
    ["an id that is a number", {
      contentType: "application/json",
      headers: { id: 7, task: "t" },
    }, "protocol 2"],
    ["an eta that is no instant", {
      contentType: "application/json",
      headers: { id: "1", task: "t", eta: "soon" },
    }, "eta"],
  ])("refuses %s", (_, properties, reason) => {
    const result = decodeTask(deliveryOf({ ...base, properties }));
    expect(result.kind === "unusable" && result.reason).toContain(reason);
  });

  test("passes on why the adapter could not read it", () => {
    const result = decodeTask(deliveryOf({ ...base, properties: {} }, { unreadable: "type L" }));
    expect(result).toMatchObject({ kind: "unusable", reason: "type L" });
  });
});
