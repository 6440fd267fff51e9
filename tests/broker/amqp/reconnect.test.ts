/** The broker goes and comes back: by kill -9, a stop, a closed connection, a cut line. */
import { afterAll, expect, test } from "bun:test";
import { startRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import type { Broker, BrokerState } from "../../../src/broker/broker.ts";
import { BrokerAwayError } from "../../../src/broker/errors.ts";
import {
  errorOf,
  eventually,
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

/** Of its own, for it is stopped and killed. */
const rabbit = await startRabbitMq();
afterAll(() => rabbit.dispose());

const BOTH = { mandatory: true, confirm: true } as const;

async function isAway(broker: Broker): Promise<void> {
  await eventually(() => broker.state.kind, (kind) => kind === "away", "the loss to be told");
}

/** Publishes until it works; the broker may be on its way back. */
async function publishAgain(broker: Broker, send: () => Promise<string>): Promise<void> {
  await eventually(
    () =>
      send().catch((error: unknown) => {
        expect(error).toBeInstanceOf(BrokerAwayError);
        return broker.state.kind;
      }),
    (result) => result === "confirmed",
    "a publish that is confirmed",
    RESTORED_LIMIT_MS,
  );
}

/** An ack may have been lost with the line, so an earlier one may come again. */
async function readUntil(reader: Reader, text: string): Promise<void> {
  for (let seen = ""; seen !== text;) [seen = ""] = await reader.takeTexts(1);
}

test(
  "after kill -9 and a new start everything is as it was, within 5 s of its first greeting",
  async () => {
    await using stage = new Stage(rabbit);
    const broker = await stage.connect();
    const [queue, passing, exchange] = [stage.name(), stage.name(), stage.name()];
    await broker.declareQueue({ name: queue });
    await broker.declareQueue({ name: passing, durable: false });
    await broker.declareExchange({ name: exchange, type: "topic", durable: false });
    await broker.bind({ exchange, queue, routingKey: "a.#" });
    const consumer = await broker.consume(queue, { prefetch: 10 });
    const reader = new Reader(consumer);
    const replies = await broker.openPrivateQueue({ prefix: "reply", bindings: [{ exchange }] });
    const repliesReader = new Reader(replies);
    const before = replies.name;
    await broker.publish(toQueue(queue, "held", { persistent: true }), { confirm: true });
    const held = await reader.next();

    await rabbit.kill();
    await isAway(broker);
    const asked = performance.now();
    const attempts: readonly (() => Promise<unknown>)[] = [
      () => broker.publish(toQueue(queue, "x")),
      () => broker.publish(toQueue(queue, "x"), BOTH),
      () => broker.declareQueue({ name: queue }),
      () => broker.inspectQueue(queue),
      () => broker.consume(queue, { prefetch: 1 }),
      () => broker.openPrivateQueue({ prefix: "x" }),
    ];
    for (const attempt of attempts) {
      expect(await errorOf(attempt())).toBeInstanceOf(
        BrokerAwayError,
      );
    }
    expect(performance.now() - asked).toBeLessThan(500);
    expect(consumer.isLive).toBe(false);
    expect(replies.name).toBeUndefined();
    held.ack();

    await rabbit.start();
    const greeted = performance.now();
    await publishAgain(broker, () => broker.publish(toExchange(exchange, "a.b", "new"), BOTH));
    expect(performance.now() - greeted).toBeLessThan(RESTORED_LIMIT_MS);
    expect(broker.state.kind).toBe("connected");
    const again = await reader.next();
    expect([textOf(again), again.redelivered]).toEqual(["held", true]);
    again.ack();
    expect(await reader.takeTexts(1)).toEqual(["new"]);
    await eventually(() => replies.name, (name) => name !== undefined, "a fresh name");
    expect(replies.name).not.toBe(before ?? "");
    expect(await broker.publish(toExchange(exchange, "", "to all"), BOTH)).toBe("confirmed");
    expect(textOf(await repliesReader.next())).toBe("to all");
    expect(await broker.publish(toQueue(passing, "x"), BOTH)).toBe("confirmed");
  },
  2 * TEST_LIMIT_MS,
);

test("a broker that says goodbye is told as it said it", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const states: BrokerState[] = [];
  broker.watch((state) => states.push(state));
  await rabbit.stop();
  await isAway(broker);
  const [away] = states;
  expect(away?.kind === "away" && away.reason).toContain("CONNECTION_FORCED");
  await rabbit.start();
  await eventually(
    () => broker.state.kind,
    (kind) => kind === "connected",
    "the connection to be back",
    RESTORED_LIMIT_MS,
  );
  expect(states.map(({ kind }) => kind)).toEqual(["away", "connected"]);
}, 2 * TEST_LIMIT_MS);

test("connections that an operator closes come back", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect({ name: "closable" });
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const consumer = await broker.consume(queue, { prefetch: 1 });
  const reader = new Reader(consumer);
  for (const side of ["publishes", "consumes"]) {
    const [pid = ""] = rabbit.ctl("list_connections", "pid", "client_properties")
      .split("\n")
      .filter((line) => line.includes(`closable ${side}`))
      .map((line) => line.split("\t")[0] ?? "");
    expect(pid).not.toBe("");
    const told = Promise.withResolvers<void>();
    broker.watch(({ kind }) => kind === "away" && told.resolve());
    rabbit.ctl("close_connection", pid, "on purpose");
    await within(told.promise, "the loss to be told");
    await publishAgain(broker, () => broker.publish(toQueue(queue, side), BOTH));
    await readUntil(reader, side);
  }
}, TEST_LIMIT_MS);

test("stop() while the broker is away ends the tries, and the loops", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: urlOf(proxy.port) });
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const reader = new Reader(await broker.consume(queue, { prefetch: 1 }));
  const replies = new Reader(await broker.openPrivateQueue({ prefix: "reply" }));
  await proxy.refuse();
  await isAway(broker);
  await within(broker.stop(), "the stop");
  expect(broker.state.kind).toBe("stopped");
  await Promise.all([reader.end(), replies.end()]);
  const { accepted } = proxy;
  proxy.accept();
  // As long as the longest pause between two tries would last.
  await Bun.sleep(2_100);
  expect(proxy.accepted).toBe(accepted);
}, TEST_LIMIT_MS);

test("bad credentials stop the first start alone: later they may be mended", async () => {
  await using stage = new Stage(rabbit);
  rabbit.ctl("add_user", "passing", "first");
  rabbit.ctl("set_permissions", "passing", ".*", ".*", ".*");
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: `amqp://passing:first@127.0.0.1:${proxy.port}` });
  rabbit.ctl("change_password", "passing", "second");
  await proxy.cut();
  await isAway(broker);
  const { accepted } = proxy;
  await eventually(() => proxy.accepted, (count) => count >= accepted + 3, "further tries");
  expect(broker.state.kind).toBe("away");
  rabbit.ctl("change_password", "passing", "first");
  await eventually(
    () => broker.state.kind,
    (kind) => kind === "connected",
    "the connection to be back",
    RESTORED_LIMIT_MS,
  );
  await broker.stop();
  rabbit.ctl("delete_user", "passing");
}, TEST_LIMIT_MS);

test("one lost connection of the two is told and restored", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: urlOf(proxy.port) });
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const reader = new Reader(await broker.consume(queue, { prefetch: 5 }));
  for (let times = 0; times < 10; times++) {
    const kinds: string[] = [];
    const unwatch = broker.watch(({ kind }) => kinds.push(kind));
    await proxy.cutOne(times % 2);
    await eventually(
      () => kinds.join(),
      (told) => told === "away,connected",
      "loss and return",
      RESTORED_LIMIT_MS,
    );
    unwatch();
    await publishAgain(broker, () => broker.publish(toQueue(queue, `${times}`), BOTH));
    await readUntil(reader, `${times}`);
  }
}, TEST_LIMIT_MS);

test("what cannot be declared again does not keep the rest from it", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: urlOf(proxy.port) });
  const [queue, changed, exchange] = [stage.name(), stage.name(), stage.name()];
  await broker.declareQueue({ name: changed });
  await broker.declareExchange({ name: exchange, type: "fanout", autoDelete: true });
  await broker.declareQueue({ name: queue });
  await broker.bind({ exchange, queue: changed });
  await broker.bind({ exchange, queue });
  const reader = new Reader(await broker.consume(queue, { prefetch: 1 }));
  const other = await stage.connect();
  await other.deleteQueue(changed);
  await other.declareQueue({ name: changed, maxPriority: 3 });
  await other.deleteQueue(queue);
  await proxy.cut();
  await isAway(broker);
  await publishAgain(broker, () => broker.publish(toExchange(exchange, "", "x"), BOTH));
  expect(await reader.takeTexts(1)).toEqual(["x"]);
  expect((await broker.declareQueue({ name: changed })).mismatch).toContain("priorities");
  expect((await broker.inspectQueue(changed))?.messages).toBe(1);
}, TEST_LIMIT_MS);

test("whatever is cut and when: what was confirmed arrives, and nothing hangs", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: urlOf(proxy.port) });
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const consumer = await broker.consume(queue, { prefetch: 20 });
  const seen = new Set<string>();
  const reading = (async () => {
    for await (const delivery of consumer) {
      seen.add(textOf(delivery));
      delivery.ack();
      if (seen.size % 7 === 0) consumer.setPrefetch(1 + seen.size % 30);
    }
  })();
  const confirmed: string[] = [];
  let isOver = false;
  const publishing = Promise.all(Array.from({ length: 8 }, async (_, lane) => {
    for (let n = 0; !isOver; n++) {
      const text = `${lane}-${n}`;
      const message = toQueue(queue, text, { persistent: true });
      const result = await broker.publish(message, BOTH).catch((error: unknown) => {
        expect(error).toBeInstanceOf(BrokerAwayError);
        return new Promise<string>((resolve) => setTimeout(() => resolve("away"), 5));
      });
      if (result === "confirmed") confirmed.push(text);
    }
  }));
  for (let times = 0; times < 20; times++) {
    const goal = confirmed.length + 200;
    await eventually(
      () => confirmed.length,
      (count) => count >= goal,
      "publishes to go on",
      RESTORED_LIMIT_MS,
    );
    if (times % 3 === 0) await proxy.cut();
    else if (proxy.open === 2) await proxy.cutOne(times % 2);
  }
  isOver = true;
  await within(publishing, "the publishers to end");
  await eventually(
    () => confirmed.filter((text) => !seen.has(text)).length,
    (missing) => missing === 0,
    "all that was confirmed",
    RESTORED_LIMIT_MS,
  );
  await consumer.close();
  await reading;
}, 2 * TEST_LIMIT_MS);
