/** Messages that grow too old and queues that grow too long. */
import { expect } from "bun:test";
import { drain, numbered, Reader, type Scene, type SceneTest, textOf } from "./scene.ts";

const LONG_MS = 600_000;

export function expiry(it: SceneTest): void {
  it("an expired message is dead-lettered with the reason", async (scene) => {
    const { queue, grave } = await mortal(scene);
    await scene.fill(queue, ["old"], { expirationMs: 50, headers: { mine: 1 } });
    await scene.depth(grave, 1);
    await scene.depth(queue, 0);
    const [dead] = await drain(scene.broker, grave);
    expect(dead === undefined ? undefined : textOf(dead)).toBe("old");
    expect(dead?.message.properties.headers?.["x-first-death-reason"]).toBe("expired");
    expect(dead?.message.properties.headers?.["x-first-death-queue"]).toBe(queue);
    expect(dead?.message.properties.headers?.["mine"]).toBe(1);
    expect(dead?.message.properties.expirationMs).toBeUndefined();
  });

  it("an expired message without a dead-letter exchange goes away", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(20), { expirationMs: 30 });
    await scene.depth(queue, 0);
  });

  it("an expiration of 0 is for a consumer that is free, or for nobody", async (scene) => {
    const { queue, grave } = await mortal(scene);
    await scene.fill(queue, ["nobody"], { expirationMs: 0 });
    await scene.depth(grave, 1);
    const reader = new Reader(await scene.broker.consume(queue, { prefetch: 1 }));
    await scene.fill(queue, ["taken"], { expirationMs: 0 });
    expect(textOf(await reader.next())).toBe("taken");
  });

  it("a queue's time to live holds for messages that have none", async (scene) => {
    const { queue, grave } = await mortal(scene, { messageTtlMs: 50 });
    await scene.fill(queue, ["by the queue"]);
    await scene.depth(grave, 1);
  });

  it("the shorter of both times to live counts", async (scene) => {
    const short = await mortal(scene, { messageTtlMs: 50 });
    await scene.fill(short.queue, ["queue's"], { expirationMs: LONG_MS });
    await scene.depth(short.grave, 1);
    const long = await mortal(scene, { messageTtlMs: LONG_MS });
    await scene.fill(long.queue, ["own"], { expirationMs: 50 });
    await scene.depth(long.grave, 1);
  });

  it("what a consumer holds does not expire; given back too late, it does", async (scene) => {
    const { queue, grave } = await mortal(scene);
    await scene.fill(queue, ["held"], { expirationMs: 500 });
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    const [held] = await new Reader(consumer).take(1);
    await scene.fill(grave, ["clock"], { expirationMs: 1000 });
    await scene.depth(grave, 0);
    await consumer.cancel();
    held?.nack({ requeue: true });
    await scene.depth(grave, 1);
    expect((await drain(scene.broker, grave)).map(textOf)).toEqual(["held"]);
  });

  it("a message that would circle between queues by expiry alone is dropped", async (scene) => {
    const first = scene.name();
    const second = scene.name();
    await scene.broker.declareQueue({
      name: first,
      messageTtlMs: 20,
      deadLetterExchange: "",
      deadLetterRoutingKey: second,
    });
    await scene.broker.declareQueue({
      name: second,
      messageTtlMs: 20,
      deadLetterExchange: "",
      deadLetterRoutingKey: first,
    });
    await scene.fill(first, ["dizzy"]);
    const { queue, grave } = await mortal(scene);
    await scene.fill(queue, ["clock"], { expirationMs: 500 });
    await scene.depth(grave, 1);
    expect((await scene.broker.inspectQueue(first))?.messages).toBe(0);
    expect((await scene.broker.inspectQueue(second))?.messages).toBe(0);
  });

  it.needs("exact-expiry", "a message expires at its instant behind a later one", async (scene) => {
    const { queue, grave } = await mortal(scene, { maxPriority: 5 });
    await scene.fill(queue, ["never"]);
    await scene.fill(queue, ["later"], { expirationMs: LONG_MS });
    await scene.fill(queue, ["urgent"], { priority: 5 });
    const start = performance.now();
    await scene.fill(queue, ["soon"], { expirationMs: 100 });
    await scene.depth(grave, 1);
    expect(performance.now() - start).toBeGreaterThanOrEqual(99);
    expect(performance.now() - start).toBeLessThan(500);
    expect((await drain(scene.broker, grave)).map(textOf)).toEqual(["soon"]);
    expect((await drain(scene.broker, queue)).map(textOf)).toEqual(["urgent", "never", "later"]);
  });

  it("maxLength dead-letters the oldest", async (scene) => {
    const { queue, grave } = await mortal(scene, { maxLength: 3 });
    await scene.fill(queue, numbered(5));
    await scene.depth(queue, 3);
    await scene.depth(grave, 2);
    const surplus = await drain(scene.broker, grave);
    expect(surplus.map(textOf)).toEqual(["m1", "m2"]);
    expect(surplus[0]?.message.properties.headers?.["x-first-death-reason"]).toBe("maxlen");
    expect((await drain(scene.broker, queue)).map(textOf)).toEqual(["m3", "m4", "m5"]);
  });

  it("maxLength counts ready messages, not those that a consumer holds", async (scene) => {
    const queue = await scene.queue({ maxLength: 2 });
    const reader = new Reader(await scene.broker.consume(queue, { prefetch: 2 }));
    await scene.fill(queue, numbered(2));
    const held = await reader.take(2);
    await scene.fill(queue, ["m3", "m4"]);
    await scene.depth(queue, 2);
    for (const delivery of held) delivery.ack();
    expect((await reader.take(2)).map(textOf)).toEqual(["m3", "m4"]);
  });
}

/** A queue whose dead letters land in a second one. */
async function mortal(
  scene: Scene,
  spec: Parameters<Scene["queue"]>[0] = {},
): Promise<{ queue: string; grave: string }> {
  const grave = await scene.queue();
  const exchange = await scene.exchange("fanout");
  await scene.broker.bind({ exchange, queue: grave });
  return { grave, queue: await scene.queue({ ...spec, deadLetterExchange: exchange }) };
}
