/** Dead letters of all kinds become records, and go back to where they came from. */
import { expect, test } from "bun:test";
import type { Message, MessageProperties } from "../../../src/broker/message.ts";
import {
  DEAD_EXCHANGE,
  DEAD_LETTERS_QUEUE,
  LARGE_DEAD_LETTERS_QUEUE,
} from "../../../src/broker/topology.ts";
import { COX } from "../../../src/calls/wire/names.ts";
import { deadLetter } from "../../../src/calls/wire/task_message.ts";
import type { Job } from "../../../src/jobs/job.ts";
import { jobMessage } from "../../../src/jobs/job_message.ts";
import { JobOperations } from "../../../src/jobs/operations.ts";
import { readStoredMessage, storeMessage } from "../../../src/jobs/recorder/stored_message.ts";
import { until } from "../../support/waiting.ts";
import { outcome, RecorderScene, scheduled } from "./recorder_scene.ts";

const encoder = new TextEncoder();
const confirmed = { confirm: true, mandatory: true } as const;

function message(body: string, properties: MessageProperties, routingKey = "q"): Message {
  return { exchange: "", routingKey, properties, body: encoder.encode(body) };
}

const bury = (scene: RecorderScene, given: Message, reason = "too bad", queue = "q") =>
  scene.broker.publish(
    deadLetter(given, {
      to: DEAD_LETTERS_QUEUE.name,
      reason,
      queue,
      node: "worker-1",
      at: Date.now(),
    }),
    confirmed,
  );

async function letters(scene: RecorderScene, count = 1): Promise<readonly Job[]> {
  await until(
    `there are ${count} dead letters`,
    async () => (await scene.store.stats()).deadLetters >= count,
    10_000,
  );
  const { jobs } = await scene.store.list({ isDeadLetter: true }, 100);
  return (await Promise.all(jobs.map(({ id }) => scene.store.get(id)))).flatMap((job) => job ?? []);
}

const operations = (scene: RecorderScene) =>
  new JobOperations({ broker: scene.broker, store: scene.store, directory: scene.nodes });

const sender = { node: "front-1", version: "0" };

test("a letter of a job joins its record, which says how it ended", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const first = scheduled(queue, 0);
  await scene.tell(first);
  await until("it was published", () => deliveries.length === 1);
  const [delivery] = deliveries;
  if (delivery === undefined) throw new Error("There is no delivery");
  // The letter comes first, as from a worker.
  await bury(scene, delivery.message, "It ran too long", queue);
  await scene.tell(outcome(first, { outcome: { kind: "timed_out", limitMs: 500 } }));
  const [job] = await letters(scene);
  expect(job).toMatchObject({
    id: first.id,
    state: "timed_out",
    queue,
    deadLetter: { attempt: 1, reason: "It ran too long" },
    payload: { input: { argsJson: "[1]", kwargsJson: "{}" } },
    publishedAttempt: 1,
    settledAttempt: 1,
  });
  expect(job?.attempts).toHaveLength(1);
});

test("a letter that nobody tells the end of is the end, and the job can be tried again", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const first = scheduled(queue, Date.now() - 1_000, {
    request: {
      terms: { expiresAt: Date.now() + 2_000, uniqueKey: "one" },
      payload: { input: { argsJson: '["ü"]', kwargsJson: "{}" }, headers: { "x-user": "7" } },
    },
  });
  const record = { ...first, firstAttempt: 1, ...first.request };
  // As RabbitMQ dead-letters it, to an exchange of headers.
  const dead = await jobMessage(record, 3, sender);
  await scene.broker.declareExchange(DEAD_EXCHANGE);
  await scene.broker.publish({
    ...dead,
    routingKey: DEAD_LETTERS_QUEUE.name,
    properties: {
      ...dead.properties,
      headers: {
        ...dead.properties.headers,
        "x-first-death-reason": "delivery_limit",
        "x-first-death-queue": queue,
      },
    },
  }, confirmed);
  const [job] = await letters(scene);
  expect(job).toMatchObject({
    id: first.id,
    task: "echo",
    queue,
    state: "failed",
    attempt: 3,
    payload: { input: { argsJson: '["ü"]', kwargsJson: "{}" }, headers: { "x-user": "7" } },
  });
  expect(job?.deadLetter?.reason).toContain("delivered too often");

  const ending = await operations(scene).retry(first.id);
  expect(ending).toMatchObject({ kind: "retried", job: { firstAttempt: 4, attempt: 4 } });
  await until("it is published again", () => deliveries.length === 1);
  const headers = deliveries[0]?.message.properties.headers;
  expect(headers).toMatchObject({ id: first.id, retries: 3, "x-user": "7" });
  expect(headers).not.toHaveProperty("expires");
  const again = await scene.reached(first.id, "queued");
  expect(again.deadLetter).toBeUndefined();
  await until(
    "no dead letter is left",
    async () => (await scene.store.stats()).deadLetters === 0,
  );
});

test("strangers' messages get records of their own, and nothing of them is lost", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const celery = message("[[1],{},{}]", {
    contentType: "application/json",
    correlationId: "c-1",
    replyTo: "reply-1",
    priority: 3,
    timestamp: new Date(1_700_000_000_000),
    headers: {
      id: "celery-1",
      task: "proj.add",
      retries: 0,
      expires: "2020-01-01T00:00:00+00:00",
      big: 9_007_199_254_740_993n,
      when: new Date(1_600_000_000_000),
      bytes: new Uint8Array([1, 2, 255]),
      nested: { $date: 1, list: [1, "two", null, { deep: true }] },
    },
  });
  const consumed = message("€ 5", {
    messageId: "m-1",
    headers: { [COX.consumedId]: "m-1", [COX.failures]: 3, [COX.exchange]: "shop" },
  });
  const garbage: Message = {
    exchange: "",
    routingKey: "q",
    properties: {},
    body: new Uint8Array([0, 255, 254]),
  };
  for (const given of [celery, consumed, garbage]) await bury(scene, given, "no idea", queue);
  const found = await letters(scene, 3);
  expect(found.map(({ task }) => task).toSorted()).toEqual(["proj.add", "unknown", "unknown"]);
  for (const job of found) {
    expect(job).toMatchObject({ queue, state: "failed", deadLetter: { reason: "no idea" } });
  }
  const ofCelery = found.find(({ task }) => task === "proj.add");
  expect(ofCelery?.terms?.correlationId).toBe("celery-1");

  const { retried, refused } = await operations(scene).retryDeadLetters();
  expect([retried, refused]).toEqual([3, []]);
  await until("all are back", () => deliveries.length === 3);
  await until(
    "no dead letter is left",
    async () => (await scene.store.stats()).deadLetters === 0,
  );
  const back = deliveries.find(({ message: { properties } }) => properties.correlationId === "c-1");
  const { expires: _expires, ...headers } = celery.properties.headers ?? {};
  expect(back?.message.properties).toEqual({
    ...celery.properties,
    persistent: true,
    headers: { ...headers, expires: null },
  });
  expect(new TextDecoder().decode(back?.message.body)).toBe("[[1],{},{}]");
  const handled = deliveries.find(({ message: { properties } }) => properties.messageId === "m-1");
  expect(handled?.message.properties.headers).toEqual({
    [COX.consumedId]: "m-1",
    [COX.exchange]: "shop",
  });
  expect(deliveries.some(({ message: { body } }) => body[1] === 255)).toBe(true);
});

test("one whose queue is gone stays, and says why", async () => {
  await using scene = await RecorderScene.start();
  await bury(scene, message("x", {}), "no idea", "never-declared");
  const [job] = await letters(scene);
  expect(await operations(scene).retry(job?.id ?? "")).toMatchObject({
    kind: "refused",
    reason: 'There is no queue "never-declared" any more',
  });
  expect((await scene.store.stats()).deadLetters).toBe(1);
  expect(await operations(scene).purgeDeadLetters({ task: "other" })).toBe(0);
  expect(await operations(scene).purgeDeadLetters()).toBe(1);
  await until(
    "no dead letter is left",
    async () => (await scene.store.stats()).deadLetters === 0,
  );
});

test("a body that is too large for a record waits in a queue of its own", async () => {
  await using scene = await RecorderScene.start();
  await bury(scene, message("x".repeat(16 * 2 ** 20 + 1), {}));
  const [job] = await letters(scene);
  expect(job?.task).toBe("unknown");
  const parked = await scene.broker.inspectQueue(LARGE_DEAD_LETTERS_QUEUE.name);
  expect(parked?.messages).toBe(1);
});

test("letters wait in their queue until there is a recorder", async () => {
  await using scene = await RecorderScene.open();
  await scene.broker.declareQueue(DEAD_LETTERS_QUEUE);
  for (let n = 0; n < 100; n++) await bury(scene, message(String(n), {}));
  await scene.record();
  expect(await letters(scene, 100)).toHaveLength(100);
  expect(await scene.broker.inspectQueue(DEAD_LETTERS_QUEUE.name)).toMatchObject({ messages: 0 });
});

test("a stored message is read back as it was, and nothing else is", () => {
  const given = message("x", { headers: { a: [1n, new Date(5), { $map: 1, $x: [] }] } });
  expect(readStoredMessage(storeMessage(given))).toEqual(given);
  for (const text of ["", "{}", "[]", '{"body":1}']) {
    expect(readStoredMessage(text)).toBeUndefined();
  }
});
