import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Broker, Consumer } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { BrokerAwayError } from "../../src/broker/errors.ts";
import type { Delivery } from "../../src/broker/message.ts";
import { DEAD_LETTERS_QUEUE } from "../../src/broker/topology.ts";
import type { Reply } from "../../src/calls/wire/reply_message.ts";
import { decodeTask, type ReceivedTask } from "../../src/calls/wire/task_message.ts";
import { systemClock } from "../../src/lifecycle/clock.ts";
import { FollowUps } from "../../src/worker/follow_ups.ts";
import { Settler } from "../../src/worker/settler.ts";
import { deliveryOf } from "../support/deliveries.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { type Folder, makeFolder } from "../support/folders.ts";

const SUCCESS: Reply = { kind: "succeeded", resultJson: "3", headers: {} };
const encoder = new TextEncoder();

const signature = (task: string, options: Record<string, unknown> = {}) => ({
  task,
  args: [],
  kwargs: {},
  options,
  subtask_type: null,
  immutable: false,
});

/** A Celery client's request, with what is to follow it. */
function request(embed: unknown) {
  return deliveryOf({
    exchange: "",
    routingKey: "celery",
    properties: {
      contentType: "application/json",
      headers: { lang: "py", task: "tasks.add", id: "parent", root_id: "root" },
    },
    body: encoder.encode(JSON.stringify([[1, 2], {}, embed])),
  }, { queue: "celery" });
}

function taskOf(delivery: Delivery): ReceivedTask {
  const decoded = decodeTask(delivery);
  if (decoded.kind === "unusable") throw new Error(decoded.reason);
  return decoded.task;
}

describe("FollowUps", () => {
  let folder: Folder;
  let broker: Broker;
  let followUps: FollowUps;

  beforeEach(async () => {
    folder = await makeFolder({});
    broker = new EmbeddedBroker({ dataDir: `${folder.path}/data` }).connect();
    await broker.start();
    await broker.declareQueue(DEAD_LETTERS_QUEUE);
    followUps = new FollowUps({
      broker,
      node: "worker-1",
      tasks: new Map(),
      queueOf: (task) => task === "ours" ? "ours" : undefined,
      maxBodyBytes: 1_000_000,
      clock: systemClock,
    });
  });

  afterEach(async () => {
    await broker.stop();
    await folder[Symbol.asyncDispose]();
  });

  /** Takes the next message of a queue. */
  async function next(queue: string): Promise<Delivery> {
    const consumer: Consumer = await broker.consume(queue, { prefetch: 1 });
    for await (const delivery of consumer) {
      delivery.ack();
      return delivery;
    }
    throw new Error("The consumer ended");
  }

  const after = async (embed: unknown, reply: Reply = SUCCESS) => {
    const delivery = request(embed);
    return await followUps.after(delivery, taskOf(delivery), reply);
  };

  test("nothing follows from what asks for nothing", async () => {
    expect(await after({ callbacks: null, errbacks: null, chain: null, chord: null }))
      .toBeUndefined();
  });

  test("publishes to the queue that a task is known on, or Celery's own, which it declares", async () => {
    await broker.declareQueue({ name: "ours" });
    const children = await after({ callbacks: [signature("ours"), signature("theirs")] });
    expect(children).toHaveLength(2);
    for (const [queue, task] of [["ours", "ours"], ["celery", "theirs"]] as const) {
      const { message: { properties, body } } = await next(queue);
      expect(properties.headers).toMatchObject({ task, parent_id: "parent", root_id: "root" });
      expect(properties.persistent).toBe(true);
      expect(new TextDecoder().decode(body)).toStartWith("[[3],{},");
    }
  });

  test("publishes the same ids again", async () => {
    await broker.declareQueue({ name: "ours" });
    await after({ chain: [signature("ours")] });
    await after({ chain: [signature("ours")] });
    const first = await next("ours");
    const second = await next("ours");
    expect(second.message.properties.headers?.id).toBe(
      String(first.message.properties.headers?.id),
    );
  });

  test("what cannot be routed is a dead letter, and who waits for it is told", async () => {
    await broker.declareQueue({ name: "replies" });
    await after({
      callbacks: [signature("a", { exchange: "nowhere", task_id: "a-id", reply_to: "replies" })],
    });
    const letter = await next(DEAD_LETTERS_QUEUE.name);
    expect(letter.message.properties.headers).toMatchObject({ id: "a-id", task: "a" });
    expect(String(letter.message.properties.headers?.["cox-dead-reason"])).toContain("nowhere");
    const { message } = await next("replies");
    expect(JSON.parse(new TextDecoder().decode(message.body))).toMatchObject({
      task_id: "a-id",
      status: "FAILURE",
    });
  });

  test("a failure is told to who waits for a later step, and to errbacks unless it never ran", async () => {
    await broker.declareQueue({ name: "replies" });
    await broker.declareQueue({ name: "ours" });
    const embed = {
      chain: [signature("b", { task_id: "b-id", reply_to: "replies" })],
      errbacks: [signature("ours")],
    };
    const failed: Reply = {
      kind: "failed",
      error: { type: "ValueError", message: "no" },
      headers: {},
    };
    for (
      const [reply, status] of [[failed, "FAILURE"], [{ kind: "expired" }, "REVOKED"]] as const
    ) {
      expect(await after(embed, reply)).toEqual([]);
      const { message } = await next("replies");
      expect(JSON.parse(new TextDecoder().decode(message.body))).toMatchObject({
        task_id: "b-id",
        status,
      });
    }
    expect((await broker.inspectQueue("ours"))?.messages).toBe(1);
    expect((await next("ours")).message.properties.headers).toMatchObject({ task: "ours" });
  });
});

test("a request is not acked while what follows it is not with the broker", async () => {
  const clock = new FakeClock();
  const published: unknown[] = [];
  const ended = Promise.withResolvers<void>();
  let isAway = true;
  const settler = new Settler({
    // Not started: a settlement without an address has nothing to say to it.
    broker: new EmbeddedBroker({ dataDir: "unused" }).connect(),
    events: { publish: () => Promise.resolve(), tell: () => undefined },
    recorder: { isThere: () => Promise.resolve(false) },
    followUps: {
      after: (_, task) => {
        if (isAway) return Promise.reject(new BrokerAwayError("gone"));
        published.push(task?.id);
        return Promise.resolve([]);
      },
    },
    node: "worker-1",
    clock,
    onIdle: () => ended.resolve(),
  });
  const delivery = request({ callbacks: [signature("a")] });
  const settled = { delivery, task: taskOf(delivery), address: undefined };
  settler.settle(settled, { kind: "answer", reply: SUCCESS });
  await ended.promise;
  expect(delivery.settled).toEqual([]);
  // Given back after a pause: it runs, and is followed, once more.
  clock.advance(1_000);
  expect(delivery.settled).toEqual(["requeue"]);

  isAway = false;
  const again = request({ callbacks: [signature("a")] });
  settler.settle({ ...settled, delivery: again }, { kind: "answer", reply: SUCCESS });
  while (again.settled.length === 0) await Promise.resolve();
  expect(published).toEqual(["parent"]);
  expect(again.settled).toEqual(["ack"]);
});
