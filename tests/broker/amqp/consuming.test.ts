/** Consumers and private queues that are taken away from outside, and what a changed prefetch holds. */
import { AMQPClient } from "@cloudamqp/amqp-client";
import { expect, test } from "bun:test";
import { sharedRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import type { Delivery } from "../../../src/broker/message.ts";
import {
  eventually,
  numbered,
  Reader,
  RESTORED_LIMIT_MS,
  Stage,
  TEST_LIMIT_MS,
  textOf,
  toExchange,
  toQueue,
  urlOf,
} from "./scene.ts";

const rabbit = await sharedRabbitMq();
const BOTH = { mandatory: true, confirm: true } as const;

test(
  "a queue that is deleted under its consumer is declared and consumed again, with its bindings",
  async () => {
    await using stage = new Stage(rabbit);
    const broker = await stage.connect();
    const [queue, exchange] = [stage.name(), stage.name()];
    await broker.declareQueue({ name: queue, maxPriority: 5 });
    await broker.declareExchange({ name: exchange, type: "direct", autoDelete: true });
    await broker.bind({ exchange, queue, routingKey: "k" });
    const consumer = await broker.consume(queue, { prefetch: 2 });
    const reader = new Reader(consumer);
    for (let times = 0; times < 3; times++) {
      rabbit.ctl("delete_queue", queue);
      const deleted = performance.now();
      await eventually(() => consumer.isLive, (isLive) => !isLive, "the consumer to be lost");
      await eventually(
        () => consumer.isLive,
        (isLive) => isLive,
        "the consumer to be back",
        RESTORED_LIMIT_MS,
      );
      expect(performance.now() - deleted).toBeLessThan(RESTORED_LIMIT_MS);
      const message = toExchange(exchange, "k", `${times}`);
      await eventually(
        () => broker.publish(message, BOTH).catch((error: unknown) => String(error)),
        (result) => result === "confirmed",
        "the binding to be back",
      );
      expect(await reader.takeTexts(1)).toEqual([`${times}`]);
    }
    expect((await broker.declareQueue({ name: queue, maxPriority: 5 })).mismatch).toBeUndefined();
  },
  TEST_LIMIT_MS,
);

test("a private queue that is deleted comes back under a fresh name", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = await broker.openPrivateQueue({ prefix: "reply" });
  const names: (string | undefined)[] = [];
  queue.watch((name) => names.push(name));
  const reader = new Reader(queue);
  await broker.publish(toQueue(queue.name ?? "", "first"), BOTH);
  expect(textOf(await reader.next())).toBe("first");
  await broker.deleteQueue(queue.name ?? "");
  await eventually(() => names.length, (count) => count >= 2, "a fresh name", RESTORED_LIMIT_MS);
  expect(await broker.publish(toQueue(queue.name ?? "", "second"), BOTH)).toBe("confirmed");
  expect(textOf(await reader.next())).toBe("second");
}, TEST_LIMIT_MS);

test("what a private queue was bound to meanwhile follows it to its fresh name", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: urlOf(proxy.port) });
  const exchange = stage.name();
  await broker.declareExchange({ name: exchange, type: "direct", autoDelete: true });
  const commands = await broker.openPrivateQueue({ prefix: "commands", prefetch: 5 });
  const bind = (routingKey: string) => ({ exchange, queue: commands.name ?? "", routingKey });
  await broker.bind(bind("device-1"));
  await broker.bind(bind("device-2"));
  await broker.unbind(bind("device-2"));
  const names: (string | undefined)[] = [];
  commands.watch((name) => names.push(name));
  await proxy.cut();
  await eventually(() => names.length, (count) => count >= 2, "a fresh name", RESTORED_LIMIT_MS);
  const other = await stage.connect();
  expect(await other.publish(toExchange(exchange, "device-1", "a"), BOTH)).toBe("confirmed");
  expect(await other.publish(toExchange(exchange, "device-2", "b"), BOTH)).toBe("returned");
  expect(await new Reader(commands).takeTexts(1)).toEqual(["a"]);
}, TEST_LIMIT_MS);

test("a channel that the broker closes because an ack came too late is replaced", async () => {
  await using stage = new Stage(rabbit);
  const setTimes = (consumerTimeoutMs: number, tickMs: number) =>
    rabbit.ctl(
      "eval",
      `application:set_env(rabbit, consumer_timeout, ${consumerTimeoutMs}), ` +
        `application:set_env(rabbit, channel_tick_interval, ${tickMs}).`,
    );
  setTimes(100, 50);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  for (const text of numbered(3)) await broker.publish(toQueue(queue, text), { confirm: true });
  const kinds: string[] = [];
  broker.watch(({ kind }) => kinds.push(kind));
  const consumer = await broker.consume(queue, { prefetch: 2 });
  const reader = new Reader(consumer);
  const first = await reader.next();
  await eventually(() => consumer.isLive, (isLive) => !isLive, "the channel to be closed");
  setTimes(1_800_000, 60_000);
  first.ack();
  const again = await reader.next();
  expect([textOf(again), again.redelivered]).toEqual(["m1", true]);
  again.ack();
  expect(await reader.takeTexts(2)).toEqual(["m2", "m3"]);
  expect(consumer.isLive).toBe(true);
  expect(kinds).toEqual([]);
}, TEST_LIMIT_MS);

test("an exclusive owner of the queue is waited for", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue, durable: false });
  const consumer = await broker.consume(queue, { prefetch: 1 });
  const stranger = new AMQPClient(rabbit.url);
  await stranger.connect();
  const channel = await stranger.channel();
  await channel.queueDelete(queue);
  await channel.queueDeclare(queue, { exclusive: true, durable: false, autoDelete: false });
  await eventually(() => consumer.isLive, (isLive) => !isLive, "the consumer to be lost");
  await stranger.close();
  await eventually(
    () => consumer.isLive,
    (isLive) => isLive,
    "the consumer to be back",
    RESTORED_LIMIT_MS,
  );
  await broker.publish(toQueue(queue, "x"), BOTH);
  expect(await new Reader(consumer).takeTexts(1)).toEqual(["x"]);
}, TEST_LIMIT_MS);

test("setPrefetch() under load: nothing is lost or reordered", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const texts = numbered(4_000);
  await Promise.all(texts.map((text) => broker.publish(toQueue(queue, text))));
  const sizes = [1, 4, 64, 16, 2, 256, 3, 1, 30];
  const consumer = await broker.consume(queue, { prefetch: 1 });
  const reader = new Reader(consumer);
  const held: Delivery[] = [];
  const seen: string[] = [];
  while (seen.length < texts.length) {
    const delivery = await reader.next();
    held.push(delivery);
    seen.push(textOf(delivery));
    if (seen.length % 97 === 0) {
      consumer.setPrefetch(sizes[(seen.length / 97) % sizes.length] ?? 1);
    }
    // Some settle late, so that changes meet deliveries of earlier subscriptions.
    if (seen.length % 5 === 0 || held.length > 20) {
      for (const late of held.splice(0)) late.ack();
    } else held.shift()?.ack();
  }
  expect(seen).toEqual(texts);
  for (const late of held) late.ack();
  await eventually(
    async () => (await broker.inspectQueue(queue))?.messages,
    (messages) => messages === 0,
    "an empty queue",
  );
  await eventually(
    async () => (await broker.inspectQueue(queue))?.consumers,
    (consumers) => consumers === 1,
    "one subscription in the end",
  );
}, TEST_LIMIT_MS);

test("setPrefetch() is exact, whatever is held from before", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const total = 500;
  await Promise.all(numbered(total).map((text) => broker.publish(toQueue(queue, text))));
  const consumer = await broker.consume(queue, { prefetch: 1 });
  const reader = new Reader(consumer);
  const held: Delivery[] = [];
  let acked = 0;
  const settle = (count: number) => {
    for (const delivery of held.splice(0, count)) delivery.ack();
    acked += count;
  };
  const holds = async (count: number) => {
    held.push(...await reader.take(count - held.length));
    await eventually(
      async () => total - acked - ((await broker.inspectQueue(queue))?.messages ?? 0),
      (unsettled) => unsettled === count,
      `${count} unsettled`,
    );
  };
  await holds(1);
  for (const size of [4, 5, 60, 100]) {
    consumer.setPrefetch(size);
    await holds(size);
  }
  const lower = async (size: number) => {
    consumer.setPrefetch(size);
    // Until the broker knows, it fills up what is settled.
    await eventually(
      async () => (await broker.inspectQueue(queue))?.consumers,
      (consumers) => consumers === 0,
      "the broker to know",
    );
  };
  await lower(10);
  settle(95);
  await holds(10);
  settle(3);
  await holds(10);
  await lower(2);
  settle(9);
  await holds(2);
  consumer.setPrefetch(20);
  await holds(20);
  settle(20);
  await holds(20);
}, TEST_LIMIT_MS);
