/** Declaring, looking into, emptying and deleting queues. */
import { expect } from "bun:test";
import type { QueueSpec } from "../../../src/broker/broker.ts";
import { DeclarationError } from "../../../src/broker/errors.ts";
import { drain, errorOf, numbered, Reader, type SceneTest, textOf, toQueue } from "./scene.ts";

export function queues(it: SceneTest): void {
  it("declareQueue() is idempotent and tells what is in the queue", async (scene) => {
    const name = scene.name();
    const spec = { name, maxPriority: 5, messageTtlMs: 60_000, maxLength: 100 };
    const first = await scene.broker.declareQueue(spec);
    expect(first).toEqual({ name, messages: 0, consumers: 0 });
    await scene.fill(name, numbered(3));
    const again = await scene.broker.declareQueue(spec);
    expect(again).toEqual({ name, messages: 3, consumers: 0 });
  });

  it("declareQueue() uses a queue with other arguments as it is, and says what is lost", async (scene) => {
    const name = scene.name();
    await scene.broker.declareQueue({ name });
    const variants: readonly QueueSpec[] = [
      { name, maxPriority: 5 },
      { name, messageTtlMs: 1000 },
      { name, maxLength: 3 },
      { name, deadLetterExchange: "elsewhere" },
      { name, durable: false },
    ];
    await scene.fill(name, ["kept"]);
    for (const spec of variants) {
      const status = await scene.broker.declareQueue(spec);
      expect(status.mismatch).toBeString();
      expect(status.messages).toBe(1);
    }
    expect((await scene.broker.declareQueue({ name })).mismatch).toBeUndefined();
    await scene.fill(name, ["low"], { priority: 0 });
    await scene.fill(name, ["high"], { priority: 5 });
    expect((await drain(scene.broker, name)).map(textOf)).toEqual(["kept", "low", "high"]);
  });

  it("declareQueue() refuses arguments that make no sense", async (scene) => {
    const name = scene.name();
    const specs: readonly QueueSpec[] = [
      { name, maxPriority: 256 },
      { name, maxPriority: -1 },
      { name, maxPriority: 1.5 },
      { name, messageTtlMs: -1 },
      { name, maxLength: -1 },
      { name, type: "quorum", maxPriority: 5 },
    ];
    for (const spec of specs) {
      expect(await errorOf(scene.broker.declareQueue(spec))).toBeInstanceOf(DeclarationError);
    }
    expect(await scene.broker.inspectQueue(name)).toBeUndefined();
  });

  it.needs("quorum-queues", "a quorum queue takes and gives messages", async (scene) => {
    const queue = await scene.queue({ type: "quorum" });
    await scene.fill(queue, numbered(3), { persistent: true });
    const reader = new Reader(await scene.broker.consume(queue, { prefetch: 1 }));
    expect(await reader.takeTexts(3)).toEqual(numbered(3));
  });

  it("inspectQueue() tells depth and consumers, and undefined where there is none", async (scene) => {
    const queue = await scene.queue();
    const nowhere = scene.name();
    await scene.fill(queue, numbered(3));
    expect(await scene.broker.inspectQueue(queue))
      .toEqual({ name: queue, messages: 3, consumers: 0 });
    expect(await scene.broker.inspectQueue(nowhere)).toBeUndefined();
    expect(await scene.broker.inspectQueue(nowhere)).toBeUndefined();
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    await scene.depth(queue, 2);
    expect((await scene.broker.inspectQueue(queue))?.consumers).toBe(1);
    await consumer.close();
    await scene.depth(queue, 3);
    expect((await scene.broker.inspectQueue(queue))?.consumers).toBe(0);
  });

  it("purgeQueue() removes what is ready and leaves what is held", async (scene) => {
    const queue = await scene.queue({ maxPriority: 3 });
    await scene.fill(queue, numbered(4));
    await scene.fill(queue, ["urgent"], { priority: 3 });
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    await scene.depth(queue, 4);
    await consumer.cancel();
    await scene.depth(queue, 5);
    const holder = await scene.broker.consume(queue, { prefetch: 1 });
    const held = await new Reader(holder).next();
    await holder.cancel();
    expect(await scene.broker.purgeQueue(queue)).toBe(4);
    expect(await scene.broker.purgeQueue(queue)).toBe(0);
    held.nack({ requeue: true });
    await scene.depth(queue, 1);
    expect((await drain(scene.broker, queue)).map(textOf)).toEqual(["urgent"]);
  });

  it("purgeQueue() of no queue rejects with DeclarationError", async (scene) => {
    expect(await errorOf(scene.broker.purgeQueue(scene.name()))).toBeInstanceOf(DeclarationError);
  });

  it("deleteQueue() takes the messages with it; one that is not there is fine", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(3));
    await scene.broker.deleteQueue(queue);
    await scene.broker.deleteQueue(queue);
    expect(await scene.broker.inspectQueue(queue)).toBeUndefined();
    const options = { mandatory: true, confirm: true };
    expect(await scene.broker.publish(toQueue(queue, "late"), options)).toBe("returned");
    expect(await scene.broker.declareQueue({ name: queue }))
      .toEqual({ name: queue, messages: 0, consumers: 0 });
  });

  it("a deleted queue may come back with other arguments", async (scene) => {
    const queue = await scene.queue();
    await scene.broker.deleteQueue(queue);
    const status = await scene.broker.declareQueue({ name: queue, maxPriority: 5 });
    expect(status.mismatch).toBeUndefined();
  });
}
