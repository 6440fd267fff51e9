/** Publishes that go wrong, and those beside them that must not. */
import { AMQPClient } from "@cloudamqp/amqp-client";
import { expect, test } from "bun:test";
import { sharedRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import { BrokerAwayError, PublishRefusedError } from "../../../src/broker/errors.ts";
import type { Message } from "../../../src/broker/message.ts";
import {
  errorOf,
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
  within,
} from "./scene.ts";

const rabbit = await sharedRabbitMq();
const BOTH = { mandatory: true, confirm: true } as const;

async function deleteExchange(name: string): Promise<void> {
  const client = new AMQPClient(rabbit.url);
  await client.connect();
  await (await client.channel()).exchangeDelete(name);
  await client.close();
}

test("a publish to no exchange hits only itself, whatever is underway beside it", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const texts = numbered(300);
  const results = await Promise.all(texts.map((text, index) => {
    const isGuilty = index % 50 === 25;
    const message = isGuilty ? toExchange(stage.name(), "", text) : toQueue(queue, text);
    return broker.publish(message, { confirm: index % 3 !== 0 }).catch((error: unknown) => {
      expect(isGuilty).toBe(true);
      expect(error).toBeInstanceOf(PublishRefusedError);
      return "refused";
    });
  }));
  expect(results.filter((result) => result === "refused").length).toBe(6);
  const expected = texts.filter((_, index) => index % 50 !== 25);
  const reader = new Reader(await broker.consume(queue, { prefetch: 100 }));
  expect(await reader.takeTexts(expected.length)).toEqual(expected);
}, TEST_LIMIT_MS);

test("an exchange that is deleted under us is declared again, with its bindings", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const [queue, exchange] = [stage.name(), stage.name()];
  await broker.declareQueue({ name: queue });
  await broker.declareExchange({ name: exchange, type: "fanout", autoDelete: true });
  await broker.bind({ exchange, queue });
  await deleteExchange(exchange);
  const message = toExchange(exchange, "", "x");
  const innocent = broker.publish(toQueue(queue, "before"), BOTH);
  const guilty = await errorOf(broker.publish(message, BOTH));
  expect(guilty).toBeInstanceOf(PublishRefusedError);
  expect(guilty.message).toContain(exchange);
  await innocent.catch((error: unknown) => expect(error).toBeInstanceOf(BrokerAwayError));
  await eventually(
    () => broker.publish(message, BOTH).catch((error: unknown) => String(error)),
    (result) => result === "confirmed",
    "the exchange to be back",
    RESTORED_LIMIT_MS,
  );
  await deleteExchange(exchange);
  // Without a confirm nobody is told, and what follows finds its way all the same.
  await broker.publish(message);
  await eventually(
    () => broker.publish(message, BOTH).catch((error: unknown) => String(error)),
    (result) => result === "confirmed",
    "the exchange to be back once more",
    RESTORED_LIMIT_MS,
  );
}, TEST_LIMIT_MS);

test("a message that the broker refuses to take (nack) is told so", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue, maxLength: 1 });
  rabbit.ctl("set_policy", "full", `^${queue}$`, '{"overflow":"reject-publish"}');
  await eventually(
    () => broker.publish(toQueue(queue, "x"), { confirm: true }).catch((error: unknown) => error),
    (result) => result instanceof PublishRefusedError,
    "a refusal",
  );
  rabbit.ctl("clear_policy", "full");
}, TEST_LIMIT_MS);

test("returns find their publishes among many that are alike", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const [there, nowhere] = [stage.name(), stage.name()];
  await broker.declareQueue({ name: there });
  const returned: Message[] = [];
  broker.watchReturns((message) => returned.push(message));
  const send = (n: number, routingKey: string, confirm: boolean) =>
    broker.publish(
      // The same body and ids for all: their headers tell them apart.
      toQueue(routingKey, "same", { correlationId: "c", headers: { n, at: new Date(n * 1_000) } }),
      { mandatory: true, confirm },
    );
  const results = await Promise.all(
    numbered(120).map((_, index) => {
      return send(index, index % 3 === 0 ? nowhere : there, index % 4 !== 0);
    }),
  );
  results.forEach((result, index) => {
    const expected = index % 3 === 0 ? "returned" : "confirmed";
    expect(result).toBe(index % 4 === 0 ? "sent" : expected);
  });
  await eventually(() => returned.length, (count) => count === 10, "what nobody waits for");
  const told = returned.map(({ properties }) => properties.headers?.["n"]).map(Number);
  expect(told.toSorted((a, b) => a - b)).toEqual([0, 12, 24, 36, 48, 60, 72, 84, 96, 108]);
}, TEST_LIMIT_MS);

test("values that AMQP does not have are refused before they cost a channel", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  for (
    const properties of [
      { expirationMs: -1 },
      { expirationMs: 1.5 },
      { expirationMs: Number.NaN },
      { priority: 256 },
      { priority: -1 },
      { timestamp: new Date(Number.NaN) },
      { headers: { when: new Date(Number.NaN) } },
      { headers: { large: 2n ** 64n } },
    ]
  ) {
    const publish = broker.publish(toQueue(queue, "x", properties), { confirm: true });
    expect(await errorOf(publish)).toBeInstanceOf(PublishRefusedError);
  }
  expect(await broker.publish(toQueue(queue, "x"), { confirm: true })).toBe("confirmed");
}, TEST_LIMIT_MS);

test("what piles up for a broker that does not read is bounded", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: urlOf(proxy.port) });
  proxy.hold();
  const body = new Uint8Array(1024 * 1024);
  let taken = 0;
  const error = await within(
    (async () => {
      while (true) {
        const message = { exchange: "", routingKey: "nowhere", properties: {}, body };
        const result = await broker.publish(message).catch((error: unknown) => error);
        if (result !== "sent") return result;
        taken++;
        await new Promise((resolve) => setImmediate(resolve));
      }
    })(),
    "a refusal",
  );
  expect(error).toBeInstanceOf(BrokerAwayError);
  expect(taken).toBeGreaterThan(32);
  expect(taken).toBeLessThan(128);
  await proxy.cut();
}, TEST_LIMIT_MS);

test("bytes that are no AMQP end the connection, not the process", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: urlOf(proxy.port) });
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const reader = new Reader(await broker.consume(queue, { prefetch: 1 }));
  const reasons: string[] = [];
  broker.watch((state) => state.kind === "away" && reasons.push(state.reason));
  proxy.inject(new Uint8Array(1_000).fill(0xff));
  await eventually(() => reasons.length, (count) => count > 0, "the loss to be told");
  expect(reasons[0]).toContain("cannot be read");
  await eventually(
    () => broker.publish(toQueue(queue, "after"), BOTH).catch((error: unknown) => String(error)),
    (result) => result === "confirmed",
    "the connection to be back",
    RESTORED_LIMIT_MS,
  );
  expect(textOf(await reader.next())).toBe("after");
}, TEST_LIMIT_MS);
