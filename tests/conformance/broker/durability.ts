/** What is left after the broker was down. Each test restarts it. */
import { expect } from "bun:test";
import type { Broker } from "../../../src/broker/broker.ts";
import {
  drain,
  eventually,
  numbered,
  Reader,
  type SceneTest,
  textOf,
  toExchange,
  toQueue,
} from "./scene.ts";

/** A broker of its own process takes its time to stop and start. */
const RESTART_LIMIT_MS = 50_000;

export function durability(it: SceneTest): void {
  it.needs("durable", "a restart keeps what is durable and nothing else", async (scene) => {
    const [queue, passing, exchange] = [scene.name(), scene.name(), scene.name()];
    const before = await scene.connect();
    await before.declareQueue({ name: queue, maxPriority: 5 });
    await before.declareQueue({ name: passing, durable: false });
    await before.declareExchange({ name: exchange, type: "topic", autoDelete: true });
    await before.bind({ exchange, queue, routingKey: "a.*" });
    const send = (broker: Broker, text: string, persistent: boolean, priority: number) =>
      broker.publish(toQueue(queue, text, { persistent, priority, headers: { n: 1 } }), {
        confirm: true,
      });
    await send(before, "low", true, 1);
    await send(before, "transient", false, 1);
    await send(before, "high", true, 3);
    await before.publish(toQueue(passing, "x", { persistent: true }), { confirm: true });
    await before.stop();
    await scene.broker.stop();
    await scene.harness.restart();

    const after = await scene.connect();
    expect(await after.inspectQueue(passing)).toBeUndefined();
    expect(await after.declareQueue({ name: queue, maxPriority: 5 }))
      .toEqual({ name: queue, messages: 2, consumers: 0 });
    const bound = toExchange(exchange, "a.b", "bound", { persistent: true });
    expect(await after.publish(bound, { mandatory: true, confirm: true })).toBe("confirmed");
    const kept = await drain(after, queue);
    expect(kept.map(textOf)).toEqual(["high", "low", "bound"]);
    expect(kept[0]?.message.properties.headers).toEqual({ n: 1 });
    expect(kept[0]?.message.properties.persistent).toBe(true);
    expect(kept[0]?.message.routingKey).toBe(queue);
  });

  it.needs(
    "durable",
    "an acked message stays gone, a held one comes back marked",
    async (scene) => {
      const queue = scene.name();
      const before = await scene.connect();
      await before.declareQueue({ name: queue });
      await Promise.all(
        numbered(4).map((text) =>
          before.publish(toQueue(queue, text, { persistent: true }), { confirm: true })
        ),
      );
      const reader = new Reader(await before.consume(queue, { prefetch: 3 }));
      const held = await reader.take(3);
      held[0]?.ack();
      await before.stop();
      await scene.broker.stop();
      await scene.harness.restart();

      const after = await scene.connect();
      const kept = await drain(after, queue);
      expect(kept.map(textOf)).toEqual(["m2", "m3", "m4"]);
      expect(kept.slice(0, 2).map(({ redelivered }) => redelivered)).toEqual([true, true]);
    },
  );

  it.needs("durable", "a time to live goes on over a restart", async (scene) => {
    const [queue, grave, dead] = [scene.name(), scene.name(), scene.name()];
    const before = await scene.connect();
    await before.declareExchange({ name: dead, type: "fanout", autoDelete: true });
    await before.declareQueue({ name: grave });
    await before.bind({ exchange: dead, queue: grave });
    await before.declareQueue({ name: queue, deadLetterExchange: dead });
    await before.publish(toQueue(queue, "old", { persistent: true, expirationMs: 300 }), {
      confirm: true,
    });
    await before.stop();
    await scene.broker.stop();
    await scene.harness.restart();

    const after = await scene.connect();
    await eventually(
      async () => (await after.inspectQueue(grave))?.messages,
      (messages) => messages === 1,
      "the dead letter",
      RESTART_LIMIT_MS,
    );
    expect((await drain(after, grave)).map(textOf)).toEqual(["old"]);
  });

  it.needs(
    "reconnect",
    "consumers and declarations outlive a restart of the broker",
    async (scene) => {
      const broker = await scene.connect();
      const [queue, passing] = [scene.name(), scene.name()];
      await broker.declareQueue({ name: queue });
      await broker.declareQueue({ name: passing, durable: false });
      await broker.publish(toQueue(queue, "kept", { persistent: true }), { confirm: true });
      const durable = await broker.consume(queue, { prefetch: 1 });
      const reader = new Reader(durable);
      const transient = await broker.consume(passing, { prefetch: 1 });
      const first = await reader.next();
      await scene.harness.restart();

      await eventually(
        () => broker.state.kind === "connected" && durable.isLive && transient.isLive,
        (isBack) => isBack,
        "connection and consumers to be back",
        RESTART_LIMIT_MS,
      );
      first.ack();
      const again = await reader.next();
      expect([textOf(again), again.redelivered]).toEqual(["kept", true]);
      again.ack();
      await eventually(
        () =>
          broker.publish(toQueue(passing, "hello"), { mandatory: true, confirm: true })
            .catch((error: unknown) => String(error)),
        (result) => result === "confirmed",
        "the transient queue to be back",
        RESTART_LIMIT_MS,
      );
      expect(await new Reader(transient).takeTexts(1)).toEqual(["hello"]);
    },
  );
}
