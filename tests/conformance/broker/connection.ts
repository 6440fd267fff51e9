/** The life of one connection: its states, its end, its loss and its return. */
import { expect } from "bun:test";
import type { Broker, BrokerState } from "../../../src/broker/broker.ts";
import { BrokerAwayError } from "../../../src/broker/errors.ts";
import {
  errorOf,
  eventually,
  numbered,
  Reader,
  type Scene,
  type SceneTest,
  textOf,
  toExchange,
  toQueue,
  within,
} from "./scene.ts";

/** The port's users are promised 5 s; a test allows five times that on a loaded machine. */
const RESTORED_LIMIT_MS = 25_000;

export function connection(it: SceneTest): void {
  it("start() and stop() are told as states", async (scene) => {
    const broker = scene.create();
    const kinds: string[] = [];
    const unwatch = broker.watch(({ kind }) => kinds.push(kind));
    expect(broker.state.kind).toBe("idle");
    await broker.start();
    const { state } = broker;
    expect(state.kind === "connected" && state.since instanceof Date).toBe(true);
    await broker.stop();
    expect(broker.state.kind).toBe("stopped");
    expect(kinds).toEqual(["connected", "stopped"]);
    unwatch();
    await broker.stop();
    expect(kinds.length).toBe(2);
  });

  it("start() with a signal that has aborted rejects with BrokerAwayError", async (scene) => {
    const broker = scene.create();
    expect(await errorOf(broker.start(AbortSignal.abort()))).toBeInstanceOf(BrokerAwayError);
  });

  it("before start() and after stop() all that needs the broker rejects", async (scene) => {
    const broker = scene.create();
    const queue = await scene.queue();
    const attempts = (to: Broker): readonly (() => Promise<unknown>)[] => [
      () => to.check(),
      () => to.publish(toQueue(queue, "x")),
      () => to.publish(toQueue(queue, "x"), { confirm: true }),
      () => to.declareQueue({ name: queue }),
      () => to.declareExchange({ name: queue, type: "fanout" }),
      () => to.bind({ exchange: queue, queue }),
      () => to.unbind({ exchange: queue, queue }),
      () => to.inspectQueue(queue),
      () => to.purgeQueue(queue),
      () => to.deleteQueue(queue),
      () => to.consume(queue, { prefetch: 1 }),
      () => to.openPrivateQueue({ prefix: "x" }),
    ];
    for (const attempt of attempts(broker)) {
      expect(await errorOf(attempt())).toBeInstanceOf(BrokerAwayError);
    }
    await broker.start();
    await broker.stop();
    for (const attempt of attempts(broker)) {
      expect(await errorOf(attempt())).toBeInstanceOf(BrokerAwayError);
    }
    expect((await scene.broker.inspectQueue(queue))?.messages).toBe(0);
  });

  it("check() of a broker that answers changes nothing", async (scene) => {
    const broker = await scene.connect();
    const kinds: string[] = [];
    broker.watch(({ kind }) => kinds.push(kind));
    const queue = await scene.queue();
    const consumer = await broker.consume(queue, { prefetch: 1 });
    for (let times = 0; times < 20; times++) {
      await within(Promise.all([broker.check(), broker.check(10_000)]), "the broker's answers");
    }
    expect(await broker.publish(toQueue(queue, "x"), { confirm: true })).toBe("confirmed");
    expect(textOf(await new Reader(consumer).next())).toBe("x");
    expect(kinds).toEqual([]);
  });

  it("stop() before start() is fine", async (scene) => {
    const broker = scene.create();
    await broker.stop();
    expect(broker.state.kind).toBe("stopped");
  });

  it("stop() ends the loops and gives back the unsettled", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(5));
    const other = await scene.connect();
    const consumer = await other.consume(queue, { prefetch: 3 });
    const reader = new Reader(consumer);
    const [first, second] = await reader.take(2);
    first?.ack();
    await within(Promise.all([other.stop(), other.stop()]), "both stops");
    await reader.end();
    expect(consumer.isLive).toBe(false);
    second?.ack();
    await scene.depth(queue, 4);
    const witness = new Reader(await scene.broker.consume(queue, { prefetch: 10 }));
    const again = await witness.take(4);
    expect(again.map(textOf)).toEqual(["m2", "m3", "m4", "m5"]);
    expect(again[0]?.redelivered).toBe(true);
  });

  it("an ack just before stop() counts", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(50));
    const other = await scene.connect();
    const reader = new Reader(await other.consume(queue, { prefetch: 50 }));
    for (const delivery of await reader.take(50)) delivery.ack();
    await other.stop();
    await scene.depth(queue, 0);
  });

  it.needs("reconnect", "a lost connection is told, and comes back by itself", async (scene) => {
    const broker = await scene.connect();
    const states: BrokerState[] = [];
    broker.watch((state) => states.push(state));
    await cut(scene, broker);
    await eventually(() => states.length, (count) => count >= 1, "the loss to be told");
    const [lost] = states;
    expect(lost?.kind === "away" && lost.reason !== "").toBe(true);
    await isBack(broker);
    expect(states.at(-1)?.kind).toBe("connected");
  });

  it.needs("reconnect", "consumers come back; the unsettled is delivered again", async (scene) => {
    const broker = await scene.connect();
    const queue = await scene.queue();
    await scene.fill(queue, numbered(3));
    const consumer = await broker.consume(queue, { prefetch: 2 });
    const reader = new Reader(consumer);
    const [first] = await reader.take(1);
    await cut(scene, broker);
    await eventually(() => consumer.isLive, (isLive) => !isLive, "the consumer to be lost");
    first?.ack();
    await isBack(broker);
    await eventually(
      () => consumer.isLive,
      (isLive) => isLive,
      "the consumer to be back",
      RESTORED_LIMIT_MS,
    );
    const seen = new Map<string, boolean>();
    while (seen.size < 3) {
      const delivery = await reader.next();
      seen.set(textOf(delivery), delivery.redelivered);
      delivery.ack();
    }
    expect(seen.get("m1")).toBe(true);
    await scene.depth(queue, 0);
  });

  it.needs("reconnect", "what was declared is declared again", async (scene) => {
    const broker = await scene.connect();
    const [queue, exchange] = [scene.name(), scene.name()];
    await broker.declareQueue({ name: queue });
    await broker.declareExchange({ name: exchange, type: "topic", autoDelete: true });
    await broker.bind({ exchange, queue, routingKey: "a.#" });
    const [gone, unbound] = [scene.name(), scene.name()];
    await broker.declareQueue({ name: gone });
    await broker.deleteQueue(gone);
    await broker.declareQueue({ name: unbound });
    await broker.bind({ exchange, queue: unbound, routingKey: "#" });
    await broker.unbind({ exchange, queue: unbound, routingKey: "#" });
    await scene.broker.deleteQueue(queue);
    await cut(scene, broker);
    await eventually(() => broker.state.kind, (kind) => kind === "away", "the loss to be told");
    await isBack(broker);
    await eventually(
      () =>
        scene.broker.publish(toExchange(exchange, "a.b", "x"), { confirm: true, mandatory: true })
          .catch((error: unknown) => String(error)),
      (result) => result === "confirmed",
      "the binding to be back",
      RESTORED_LIMIT_MS,
    );
    expect(await scene.broker.inspectQueue(gone)).toBeUndefined();
    expect((await scene.broker.inspectQueue(unbound))?.messages).toBe(0);
  });

  it.needs("reconnect", "a private queue gets a fresh name, with its bindings", async (scene) => {
    const broker = await scene.connect();
    const exchange = await scene.exchange("fanout");
    // A binding that stays, for the exchange goes with its last one.
    await scene.broker.bind({ exchange, queue: await scene.queue() });
    const queue = await broker.openPrivateQueue({ prefix: "reply", bindings: [{ exchange }] });
    const before = queue.name;
    const names: (string | undefined)[] = [];
    queue.watch((name) => names.push(name));
    const reader = new Reader(queue);
    await cut(scene, broker);
    await eventually(() => names.length, (count) => count >= 2, "a fresh name", RESTORED_LIMIT_MS);
    expect(names[0]).toBeUndefined();
    expect(queue.name).toBeString();
    expect(queue.name).not.toBe(before ?? "");
    await scene.broker.publish(toQueue(queue.name ?? "", "direct"), { confirm: true });
    await scene.broker.publish(toExchange(exchange, "", "bound"), { confirm: true });
    expect((await reader.take(2)).map(textOf)).toEqual(["direct", "bound"]);
  });

  it.needs("reconnect", "what a private queue was bound to is bound again", async (scene) => {
    const broker = await scene.connect();
    const exchange = await scene.exchange("direct");
    await scene.broker.bind({ exchange, queue: await scene.queue(), routingKey: "stays" });
    const queue = await broker.openPrivateQueue({ prefix: "commands" });
    const reader = new Reader(queue);
    const keys = numbered(1_000);
    await Promise.all(keys.map((routingKey) => queue.bind({ exchange, routingKey })));
    await queue.unbind({ exchange, routingKey: "m1" });
    const names: (string | undefined)[] = [];
    queue.watch((name) => names.push(name));
    await cut(scene, broker);
    await eventually(() => names.length, (count) => count >= 1, "the loss of the queue");
    // While there is no queue, both wait for the next.
    const [late] = [
      queue.bind({ exchange, routingKey: "late" }),
      queue.unbind({
        exchange,
        routingKey: "m2",
      }),
    ];
    await within(late, "the binding that waits", RESTORED_LIMIT_MS);
    const send = (key: string) =>
      scene.broker.publish(toExchange(exchange, key, key), { mandatory: true, confirm: true });
    expect([await send("m1"), await send("m2")]).toEqual(["returned", "returned"]);
    const bound = ["m3", "m500", "m1000", "late"];
    for (const key of bound) expect(await send(key)).toBe("confirmed");
    expect((await reader.take(bound.length)).map(textOf)).toEqual(bound);
  });

  it.needs("reconnect", "what is in flight when the connection is lost is told", async (scene) => {
    const broker = await scene.connect();
    const queue = await scene.queue();
    const results = Array.from(
      { length: 500 },
      (_, index) =>
        broker.publish(toQueue(queue, `m${index}`, { persistent: true }), { confirm: true }).then(
          (result) => result,
          (error: unknown) => error,
        ),
    );
    await cut(scene, broker);
    const told = await within(Promise.all(results), "an answer to each publish");
    const confirmed = told.filter((result) => result === "confirmed").length;
    expect(told.every((result) => result === "confirmed" || result instanceof BrokerAwayError))
      .toBe(true);
    await isBack(broker);
    expect((await scene.broker.inspectQueue(queue))?.messages).toBeGreaterThanOrEqual(confirmed);
    expect(await broker.publish(toQueue(queue, "after"), { confirm: true })).toBe("confirmed");
  });
}

async function cut(scene: Scene, broker: Broker): Promise<void> {
  if (scene.harness.cutConnections === undefined) {
    throw new Error('A harness that does not lack "reconnect" must be able to cut connections');
  }
  await scene.harness.cutConnections(broker);
}

async function isBack(broker: Broker): Promise<void> {
  await eventually(
    () => broker.state.kind,
    (kind) => kind === "connected",
    "the connection to be back",
    RESTORED_LIMIT_MS,
  );
}
