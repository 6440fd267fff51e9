/** Exchanges and queues on a broker, as HTTP, tasks and the command line use them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { createAmqpBroker } from "../../src/broker/amqp/amqp_broker.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { DEAD_LETTERS_QUEUE } from "../../src/broker/topology.ts";
import { BrokerExchanges, declareConfigured } from "../../src/messages/broker_exchanges.ts";
import { BrokerQueues } from "../../src/messages/broker_queues.ts";
import { exchangeAsks } from "../../src/messages/exchange_asks.ts";
import type { OutgoingMessage } from "../../src/messages/exchanges.ts";

const LIMIT_MS = 60_000;
const message = (exchange: string, key = ""): OutgoingMessage => ({
  exchange,
  key,
  body: new TextEncoder().encode("hello"),
  contentType: "text/plain",
  headers: { a: "1" },
  persistent: true,
});

const dataDir = mkdtempSync(join(tmpdir(), "cox-messages-"));
const embedded = new EmbeddedBroker({ dataDir });
let rabbit: RabbitMq;
beforeAll(async () => {
  rabbit = await startRabbitMq();
}, LIMIT_MS);
afterAll(async () => {
  await rabbit.dispose();
  await embedded.stop();
  rmSync(dataDir, { recursive: true });
}, LIMIT_MS);

const brokers: readonly (readonly [string, () => Broker])[] = [
  ["embedded", () => embedded.connect()],
  ["RabbitMQ", () => createAmqpBroker({ url: rabbit.url })],
];

for (const [name, connect] of brokers) {
  describe(`on ${name}`, () => {
    let broker: Broker;
    let exchanges: BrokerExchanges;
    beforeAll(async () => {
      broker = connect();
      await broker.start();
      exchanges = new BrokerExchanges(broker);
    }, LIMIT_MS);
    afterAll(() => broker.stop(), LIMIT_MS);

    test("publish() reaches the queues of an exchange, and tells whether it did", async () => {
      expect(await exchanges.declare("m.topic", "topic", true)).toEqual({ kind: "declared" });
      await broker.declareQueue({ name: "m.q" });
      await broker.bind({ exchange: "m.topic", queue: "m.q", routingKey: "a.*" });
      const publish = (key: string, isAwaited: boolean) =>
        exchanges.publish(message("m.topic", key), { isAwaited });
      expect(await publish("a.b", true)).toEqual({ kind: "published", isRouted: true });
      expect(await publish("b.b", true)).toEqual({ kind: "published", isRouted: false });
      expect(await publish("a.c", false)).toEqual({ kind: "published" });
      const consumer = await broker.consume("m.q", { prefetch: 1 });
      const keys: string[] = [];
      for await (const delivery of consumer) {
        keys.push(delivery.message.routingKey);
        expect(delivery.message.properties).toMatchObject({
          contentType: "text/plain",
          persistent: true,
          headers: { a: "1" },
        });
        delivery.ack();
        if (keys.length === 2) break;
      }
      expect(keys).toEqual(["a.b", "a.c"]);
    }, LIMIT_MS);

    test("publish() tells an exchange that is not there, awaited or not", async () => {
      for (const isAwaited of [true, false]) {
        const ending = await exchanges.publish(message("m.none"), { isAwaited });
        expect(ending).toMatchObject({ kind: "unknown_exchange" });
      }
    }, LIMIT_MS);

    test("publish() and declare() refuse empty and reserved names and long keys", async () => {
      for (const exchange of ["", " ", "cox.nodes", "celery", "amq.topic", "reply.x"]) {
        expect(await exchanges.publish(message(exchange), { isAwaited: true }))
          .toMatchObject({ kind: "bad_name" });
        expect(await exchanges.declare(exchange, "topic", true)).toMatchObject({
          kind: "bad_name",
        });
      }
      expect(await exchanges.publish(message("m.topic", "x".repeat(256)), { isAwaited: true }))
        .toMatchObject({ kind: "bad_name", message: expect.stringContaining("255 bytes") });
    });

    test("declare() tells an exchange of another type", async () => {
      await exchanges.declare("m.fanout", "fanout", true);
      expect(await exchanges.declare("m.fanout", "fanout", true)).toEqual({ kind: "declared" });
      expect(await exchanges.declare("m.fanout", "direct", true)).toMatchObject({
        kind: "mismatch",
        message: expect.stringContaining("m.fanout"),
      });
    }, LIMIT_MS);

    test("declareConfigured() declares all, and names all that cannot be", async () => {
      await exchanges.declare("m.one", "fanout", true);
      await exchanges.declare("m.two", "fanout", true);
      const failure = await declareConfigured(broker, [
        { name: "m.one", type: "topic" },
        { name: "m.fresh", type: "headers" },
        { name: "m.two", type: "direct" },
      ]).then(() => undefined, (error: unknown) => String(error));
      expect(failure).toContain("m.one");
      expect(failure).toContain("m.two");
      expect(failure).toContain("An exchange keeps its type");
      expect(await exchanges.publish(message("m.fresh"), { isAwaited: true }))
        .toEqual({ kind: "published", isRouted: false });
    }, LIMIT_MS);

    test("a task is told why by the names of errors", async () => {
      const asks = exchangeAsks(exchanges);
      const publish = (exchange: string) => {
        const { body: _, ...rest } = message(exchange);
        return asks["exchanges.publish"](
          { message: rest, isBase64: true, isAwaited: true },
          "aGVsbG8=",
          undefined,
        );
      };
      expect(await publish("m.fresh")).toBeNull();
      await expect(publish("m.none")).rejects.toMatchObject({ name: "UnknownExchange" });
      await expect(publish("cox.pubsub")).rejects.toMatchObject({ name: "BadName" });
      const declare = (given: object) =>
        asks["exchanges.declare"](
          { name: "m.fresh", type: "headers", isDurable: true, ...given },
          "",
          undefined,
        );
      expect(await declare({})).toBeNull();
      await expect(declare({ type: "topic" })).rejects.toMatchObject({ name: "ExchangeMismatch" });
      await expect(declare({ type: "x-stream" })).rejects.toThrow(/type must be one of fanout/);
    }, LIMIT_MS);

    test("queues are listed, paused, resumed and purged", async () => {
      await broker.declareQueue(DEAD_LETTERS_QUEUE);
      await broker.declareQueue({ name: "m.tasks" });
      await broker.declareQueue({ name: "m.log" });
      const queues = new BrokerQueues(broker, {
        tasks: () => [{ queue: "m.tasks", nodes: ["b"] }, { queue: "m.tasks", nodes: ["a"] }],
        consumers: () => [
          { queue: "m.log", exchange: "m.topic", keys: ["#"], nodes: ["a"] },
          { queue: "m.gone", nodes: [] },
        ],
        loads: () => [
          { queue: "m.log", deliveredPerSecond: 1.5, settledPerSecond: 1 },
          { queue: "m.log", deliveredPerSecond: 0.2, settledPerSecond: 0 },
        ],
      });
      await broker.publish({ ...message(""), routingKey: "m.log", properties: {} }, {
        confirm: true,
      });
      const list = async () => {
        const listed = await queues.list();
        if (listed.kind !== "listed") throw new Error(listed.message);
        return listed.queues;
      };
      expect(await queues.setPaused("m.log", true)).toEqual({ kind: "done" });
      expect(await queues.setPaused("m.log", true)).toEqual({ kind: "done" });
      const none = { consumers: 0, isPaused: false };
      expect(await list()).toEqual([
        {
          queue: "cox.dead-letters",
          kind: "dead letters",
          nodes: [],
          messages: expect.any(Number),
          ...none,
        },
        {
          queue: "m.gone",
          kind: "messages",
          nodes: [],
          messages: null,
          consumers: null,
          isPaused: false,
        },
        {
          queue: "m.log",
          kind: "messages",
          exchange: "m.topic",
          keys: ["#"],
          nodes: ["a"],
          messages: 1,
          consumers: 0,
          isPaused: true,
          deliveredPerSecond: 1.7,
          settledPerSecond: 1,
        },
        { queue: "m.tasks", kind: "tasks", nodes: ["a", "b"], messages: 0, ...none },
      ]);
      expect(await queues.purge("m.log")).toEqual({ kind: "purged", messages: 1 });
      expect(await queues.setPaused("m.log", false)).toEqual({ kind: "done" });
      expect((await list()).find(({ queue }) => queue === "m.log")).toMatchObject({
        messages: 0,
        isPaused: false,
      });
      expect(await queues.purge("cox.dead-letters")).toMatchObject({ kind: "purged" });
      expect(await queues.setPaused("m.nowhere", true)).toMatchObject({ kind: "unknown_queue" });
      expect(await queues.purge("m.nowhere")).toMatchObject({ kind: "unknown_queue" });
      for (const queue of ["", "cox.jobs", "cox.paused.x", "amq.gen", "reply.x", "celeryev"]) {
        expect(await queues.setPaused(queue, true)).toMatchObject({ kind: "bad_name" });
        expect(await queues.purge(queue)).toMatchObject({ kind: "bad_name" });
      }
      expect(await queues.setPaused("cox.dead-letters", true)).toMatchObject({ kind: "bad_name" });
    }, LIMIT_MS);

    test("a queue with a name as long as AMQP allows can be paused", async () => {
      const queue = `m.${"x".repeat(253)}`;
      await broker.declareQueue({ name: queue });
      const queues = new BrokerQueues(broker, {
        tasks: () => [{ queue, nodes: [] }],
        consumers: () => [],
        loads: () => [],
      });
      expect(await queues.setPaused(queue, true)).toEqual({ kind: "done" });
      const listed = await queues.list();
      expect(listed.kind === "listed" && listed.queues.find((one) => one.queue === queue))
        .toMatchObject({ isPaused: true });
      await queues.setPaused(queue, false);
      await broker.deleteQueue(queue);
    }, LIMIT_MS);
  });
}

test("everything tells that the broker is away", async () => {
  const away = createAmqpBroker({ url: "amqp://127.0.0.1:1" });
  const exchanges = new BrokerExchanges(away);
  const queues = new BrokerQueues(away, {
    tasks: () => [{ queue: "q", nodes: [] }],
    consumers: () => [],
    loads: () => [],
  });
  const told = { kind: "broker_away" };
  expect(await exchanges.publish(message("e"), { isAwaited: true })).toMatchObject(told);
  expect(await exchanges.declare("e", "topic", true)).toMatchObject(told);
  expect(await queues.list()).toMatchObject(told);
  expect(await queues.setPaused("q", true)).toMatchObject(told);
  expect(await queues.purge("q")).toMatchObject(told);
});
