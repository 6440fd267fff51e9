import { CELERY_REPLIES_QUEUE } from "../../src/broker/topology.ts";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Delivery, Message } from "../../src/broker/message.ts";
import { decodeTask, encodeTask, type TaskRequest } from "../../src/calls/wire/task_message.ts";
import { jobMessage, jobRequest } from "../../src/jobs/job_message.ts";

const SENDER = { node: "n", version: "1" };
const EMBED = '{"callbacks":[{"task":"t"}],"errbacks":null,"chain":null,"chord":null}';

function received(message: Message) {
  const delivery: Delivery = {
    message,
    queue: message.routingKey,
    redelivered: false,
    ack: () => {},
    nack: () => {},
  };
  const decoded = decodeTask(delivery);
  if (decoded.kind !== "task") throw new Error(decoded.reason);
  return decoded.task;
}

const request: fc.Arbitrary<TaskRequest> = fc.record({
  id: fc.uuid(),
  task: fc.constantFrom("t", "a.b"),
  input: fc.record({
    argsJson: fc.array(fc.jsonValue()).map((value) => JSON.stringify(value)),
    kwargsJson: fc.dictionary(fc.string(), fc.jsonValue()).map((value) => JSON.stringify(value)),
  }),
  kind: fc.constant("job" as const),
  queue: fc.constant("q"),
  headers: fc.constantFrom({}, { "x-told": "yes" }),
  origin: fc.constant("n"),
  version: fc.constant("1"),
  retries: fc.nat(5),
  firstAttempt: fc.integer({ min: 1, max: 5 }),
  priority: fc.integer({ min: 1, max: 10 }),
  expires: fc.record({ at: fc.integer({ min: 1e12, max: 2e12 }), inMs: fc.constant(0) }),
  timeoutMs: fc.integer({ min: 1, max: 1e6 }),
  retryLimit: fc.nat(1_000),
  embedJson: fc.constantFrom(EMBED),
  replyTo: fc.constantFrom("reply.here"),
  correlationId: fc.constantFrom("c"),
  parent: fc.record({ id: fc.uuid(), rootId: fc.uuid() }),
}, {
  requiredKeys: ["id", "task", "input", "kind", "queue", "headers", "origin", "version"],
});

describe("a job's message", () => {
  test("written anew from what was read of it asks the same", async () => {
    await fc.assert(fc.asyncProperty(request, async (asked) => {
      const message = await encodeTask(asked);
      const task = received(message);
      const body = new TextDecoder().decode(message.body);
      const read = jobRequest(task, message.properties.priority, body);
      if (read === undefined) throw new Error("it can be read");
      const again = await jobMessage(
        {
          id: task.id,
          task: task.task,
          queue: "q",
          firstAttempt: task.firstAttempt,
          ...(task.rootId === undefined ? {} : { rootId: task.rootId }),
          ...(task.parentId === undefined ? {} : { parentId: task.parentId }),
          ...read,
        },
        task.retries + 1,
        SENDER,
      );
      expect(JSON.parse(new TextDecoder().decode(again.body))).toEqual(JSON.parse(body));
      // A Celery worker may take any.
      const replyTo = message.properties.replyTo ?? CELERY_REPLIES_QUEUE.name;
      expect(again.properties).toEqual({ ...message.properties, replyTo });
      expect(again.routingKey).toBe("q");
    }));
  });

  test("is persistent, and never expires in the broker", async () => {
    const { properties } = await jobMessage(
      {
        id: "i",
        task: "t",
        queue: "q",
        firstAttempt: 1,
        terms: { expiresAt: 2e12 },
        payload: { input: { argsJson: "[]", kwargsJson: "{}" }, headers: {} },
      },
      1,
      SENDER,
    );
    expect(properties).toMatchObject({ persistent: true });
    expect(properties.expirationMs).toBeUndefined();
    expect(properties.headers?.expires).toBe("2033-05-18T03:33:20.000+00:00");
  });

  test("cannot be written of a record that lacks what to call the task with", () => {
    expect(() => jobMessage({ id: "i", task: "t", queue: "q", firstAttempt: 1 }, 1, SENDER))
      .toThrow("its record does not say what to call t with");
  });

  test("of a body that is no triple asks nothing", () => {
    const task = received({
      exchange: "",
      routingKey: "q",
      body: new Uint8Array(),
      properties: { contentType: "application/json", headers: { task: "t", id: "i" } },
    });
    for (const body of ["", "{}", "[1,2]", "no JSON"]) {
      expect(jobRequest(task, undefined, body)).toBeUndefined();
    }
  });
});
