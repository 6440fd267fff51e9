/** Queues that tell priorities apart. */
import { expect } from "bun:test";
import fc from "fast-check";
import { drain, numbered, Reader, type SceneTest, textOf, toQueue } from "./scene.ts";

const MAX_PRIORITY = 5;

export function priorities(it: SceneTest): void {
  it("the higher priority goes first, equals keep their order, beyond the maximum counts as it", async (scene) => {
    const queue = await scene.queue({ maxPriority: MAX_PRIORITY });
    const priority = fc.option(fc.oneof(fc.nat(MAX_PRIORITY), fc.integer({ min: 6, max: 255 })), {
      nil: undefined,
    });
    await fc.assert(
      fc.asyncProperty(fc.array(priority, { minLength: 1, maxLength: 30 }), async (list) => {
        await Promise.all(list.map((value, index) =>
          scene.broker.publish(
            toQueue(queue, `${index}`, value === undefined ? {} : { priority: value }),
            { confirm: true },
          )
        ));
        const rank = (index: number) => Math.min(list[index] ?? 0, MAX_PRIORITY);
        const expected = list.map((_, index) => index)
          .sort((a, b) => rank(b) - rank(a) || a - b);
        expect((await drain(scene.broker, queue)).map(textOf)).toEqual(expected.map(String));
      }),
      { numRuns: 25 },
    );
  });

  it("a queue without a maximum priority ignores priorities", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, ["low"], { priority: 0 });
    await scene.fill(queue, ["high"], { priority: 9 });
    const taken = await drain(scene.broker, queue);
    expect(taken.map(textOf)).toEqual(["low", "high"]);
    expect(taken[1]?.message.properties.priority).toBe(9);
  });

  it("what comes in while the consumer is busy overtakes what waits", async (scene) => {
    const queue = await scene.queue({ maxPriority: MAX_PRIORITY });
    const reader = new Reader(await scene.broker.consume(queue, { prefetch: 1 }));
    await scene.fill(queue, numbered(3));
    const first = await reader.next();
    await scene.fill(queue, ["urgent"], { priority: 5 });
    first.ack();
    expect(await reader.takeTexts(3)).toEqual(["urgent", "m2", "m3"]);
  });

  it("a given back message keeps its place within its priority", async (scene) => {
    const queue = await scene.queue({ maxPriority: MAX_PRIORITY });
    await scene.fill(queue, ["a1", "a2"], { priority: 1 });
    await scene.fill(queue, ["b1", "b2"], { priority: 3 });
    const consumer = await scene.broker.consume(queue, { prefetch: 3 });
    expect((await new Reader(consumer).take(3)).map(textOf)).toEqual(["b1", "b2", "a1"]);
    await consumer.close();
    await scene.depth(queue, 4);
    expect((await drain(scene.broker, queue)).map(textOf)).toEqual(["b1", "b2", "a1", "a2"]);
  });
}
