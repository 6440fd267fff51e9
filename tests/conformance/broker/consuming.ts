/** How deliveries reach a consumer: order, prefetch, sharing, and the ways to leave. */
import { expect } from "bun:test";
import { DeclarationError, QueueTakenError } from "../../../src/broker/errors.ts";
import type { Delivery } from "../../../src/broker/message.ts";
import {
  drain,
  errorOf,
  eventually,
  numbered,
  Reader,
  type SceneTest,
  textOf,
  toQueue,
  within,
} from "./scene.ts";

/** The port's users are promised 5 s; a test allows five times that on a loaded machine. */
const RESTORED_LIMIT_MS = 25_000;

export function consuming(it: SceneTest): void {
  it("consume() delivers in the order of publishing", async (scene) => {
    const queue = await scene.queue();
    const texts = numbered(3000);
    const consumer = await scene.broker.consume(queue, { prefetch: 10 });
    expect(consumer.queue).toBe(queue);
    expect(consumer.isLive).toBe(true);
    const read = new Reader(consumer).takeTexts(texts.length);
    await scene.fill(queue, texts);
    expect(await read).toEqual(texts);
  });

  it("consume() rejects with DeclarationError where there is no such queue", async (scene) => {
    expect(await errorOf(scene.broker.consume(scene.name(), { prefetch: 1 })))
      .toBeInstanceOf(DeclarationError);
    const queue = await scene.queue();
    await scene.fill(queue, ["after"]);
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    expect(await new Reader(consumer).takeTexts(1)).toEqual(["after"]);
  });

  it("consume() refuses a prefetch outside 1 to 65535", async (scene) => {
    const queue = await scene.queue();
    for (const prefetch of [0, -1, 1.5, 65536, Number.NaN]) {
      expect(await errorOf(scene.broker.consume(queue, { prefetch }))).toBeInstanceOf(RangeError);
    }
    const consumer = await scene.broker.consume(queue, { prefetch: 65535 });
    expect(() => consumer.setPrefetch(0)).toThrow(RangeError);
  });

  it("prefetch holds back what is beyond it until something is settled", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(10));
    const consumer = await scene.broker.consume(queue, { prefetch: 3 });
    await scene.depth(queue, 7);
    const reader = new Reader(consumer);
    const held = await reader.take(3);
    await scene.depth(queue, 7);
    held[0]?.ack();
    expect(textOf(await reader.next())).toBe("m4");
    await scene.depth(queue, 6);
    held[1]?.nack({ requeue: false });
    expect(textOf(await reader.next())).toBe("m5");
    await scene.depth(queue, 5);
  });

  it("setPrefetch() upwards brings more without a settlement", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(10));
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    const reader = new Reader(consumer);
    await reader.next();
    await scene.depth(queue, 9);
    consumer.setPrefetch(4);
    expect((await reader.take(3)).map(textOf)).toEqual(["m2", "m3", "m4"]);
    await scene.depth(queue, 6);
  });

  it("setPrefetch() downwards leaves what is held and brings less from then on", async (scene) => {
    const queue = await scene.queue();
    const total = 60;
    await scene.fill(queue, numbered(total));
    const consumer = await scene.broker.consume(queue, { prefetch: 5 });
    const reader = new Reader(consumer);
    const held = await reader.take(5);
    consumer.setPrefetch(1);
    let acked = 0;
    for (const delivery of held) {
      delivery.ack();
      acked++;
    }
    const isLow = async () => {
      const ready = (await scene.broker.inspectQueue(queue))?.messages ?? 0;
      return total - acked - ready <= 1;
    };
    await within(
      (async () => {
        do {
          (await reader.next()).ack();
          acked++;
        } while (!(await isLow()));
      })(),
      "one unsettled delivery at most",
    );
    const [last] = await reader.take(1);
    expect(await isLow()).toBe(true);
    last?.ack();
  });

  it("noAck forgets on delivery and knows no limit", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(50));
    const consumer = await scene.broker.consume(queue, { prefetch: 1, noAck: true });
    const reader = new Reader(consumer);
    const taken = await reader.take(50);
    expect(taken.map(textOf)).toEqual(numbered(50));
    taken[0]?.ack();
    taken[1]?.nack({ requeue: true });
    await consumer.close();
    await reader.end();
    await scene.depth(queue, 0);
  });

  it("two consumers share a queue by what each can take", async (scene) => {
    const queue = await scene.queue();
    const other = await scene.connect();
    const first = new Reader(await scene.broker.consume(queue, { prefetch: 1 }));
    const second = new Reader(await other.consume(queue, { prefetch: 1 }));
    await scene.fill(queue, numbered(4));
    const [one, two] = [await first.next(), await second.next()];
    expect([textOf(one), textOf(two)].sort()).toEqual(["m1", "m2"]);
    one.ack();
    expect(textOf(await first.next())).toBe("m3");
    expect((await scene.broker.inspectQueue(queue))?.consumers).toBe(2);
    two.ack();
    expect(textOf(await second.next())).toBe("m4");
  });

  it("a consumer that is full holds up no other queue's consumer", async (scene) => {
    const [stuck, moving] = [await scene.queue(), await scene.queue()];
    const full = new Reader(await scene.broker.consume(stuck, { prefetch: 1 }));
    const free = new Reader(await scene.broker.consume(moving, { prefetch: 1 }));
    await scene.fill(stuck, numbered(500));
    await full.next();
    await scene.fill(moving, numbered(500));
    expect(await free.takeTexts(500)).toEqual(numbered(500));
  });

  it("leaving the loop gives back all that is unsettled", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(5));
    const seen: Delivery[] = [];
    const consumer = await scene.broker.consume(queue, { prefetch: 4 });
    for await (const delivery of consumer) {
      seen.push(delivery);
      if (seen.length === 1) delivery.ack();
      if (seen.length === 3) break;
    }
    await scene.depth(queue, 4);
    expect(consumer.isLive).toBe(false);
    seen[1]?.ack();
    seen[2]?.nack({ requeue: false });
    await scene.depth(queue, 4);
    const again = await drain(scene.broker, queue);
    expect(again.map(textOf)).toEqual(["m2", "m3", "m4", "m5"]);
    expect(again.slice(0, 2).every(({ redelivered }) => redelivered)).toBe(true);
  });

  it("an error thrown in the loop gives back too", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, ["m1"]);
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    const loop = async () => {
      for await (const delivery of consumer) throw new Error(`on purpose: ${textOf(delivery)}`);
    };
    expect((await errorOf(loop())).message).toBe("on purpose: m1");
    await scene.depth(queue, 1);
  });

  it("cancel() gives back what the loop has not seen; what it has stays to be settled", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(6));
    const consumer = await scene.broker.consume(queue, { prefetch: 5 });
    const reader = new Reader(consumer);
    const [first, second, third] = await reader.take(3);
    await consumer.cancel();
    await consumer.cancel();
    expect(consumer.isLive).toBe(false);
    await reader.end();
    await scene.depth(queue, 3);
    first?.ack();
    second?.nack({ requeue: true });
    await scene.depth(queue, 4);
    await consumer.close();
    await scene.depth(queue, 5);
    third?.ack();
    expect((await drain(scene.broker, queue)).map(textOf)).toEqual(["m2", "m3", "m4", "m5", "m6"]);
  });

  it("cancel() loses nothing that is published meanwhile", async (scene) => {
    const queue = await scene.queue();
    const consumer = await scene.broker.consume(queue, { prefetch: 20 });
    const publishing = scene.fill(queue, numbered(200));
    const seen: string[] = [];
    const reading = (async () => {
      let cancelling: Promise<void> | undefined;
      for await (const delivery of consumer) {
        seen.push(textOf(delivery));
        delivery.ack();
        if (seen.length === 20) cancelling = consumer.cancel();
      }
      // From then on the depth only grows: what the loop has not seen is on its way back.
      await cancelling;
    })();
    await within(Promise.all([publishing, reading]), "publishing and reading");
    await scene.depth(queue, 200 - seen.length);
    const rest = (await drain(scene.broker, queue)).map(textOf);
    expect([...seen, ...rest].sort()).toEqual(numbered(200).sort());
  });

  it("close() gives back and ends a loop that waits; twice is fine", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, ["m1"]);
    const consumer = await scene.broker.consume(queue, { prefetch: 5 });
    const reader = new Reader(consumer);
    const held = await reader.next();
    const end = reader.end();
    await Promise.all([consumer.close(), consumer.close()]);
    await end;
    await reader.end();
    await scene.depth(queue, 1);
    held.ack();
    const [again] = await drain(scene.broker, queue);
    expect(again?.redelivered).toBe(true);
    expect((await scene.broker.inspectQueue(queue))?.consumers).toBe(0);
  });

  it("a consumer whose queue is deleted lives again once it is declared", async (scene) => {
    const queue = await scene.queue();
    const other = await scene.connect();
    const consumer = await scene.broker.consume(queue, { prefetch: 2 });
    const reader = new Reader(consumer);
    await scene.fill(queue, ["old"]);
    const lost = await reader.next();
    await other.deleteQueue(queue);
    await eventually(() => consumer.isLive, (isLive) => !isLive, "the consumer to be gone");
    lost.ack();
    await other.declareQueue({ name: queue });
    await eventually(
      () => consumer.isLive,
      (isLive) => isLive,
      "the consumer to be back",
      RESTORED_LIMIT_MS,
    );
    await other.publish(toQueue(queue, "new"), { confirm: true });
    expect(await reader.takeTexts(1)).toEqual(["new"]);
  });

  it("a consumer that is closed while its queue is gone stays closed", async (scene) => {
    const queue = await scene.queue();
    const consumer = await scene.broker.consume(queue, { prefetch: 2 });
    const reader = new Reader(consumer);
    await scene.broker.deleteQueue(queue);
    await consumer.close();
    await reader.end();
    await scene.broker.declareQueue({ name: queue });
    const witness = await scene.broker.consume(queue, { prefetch: 1 });
    await scene.fill(queue, numbered(2));
    expect(await new Reader(witness).takeTexts(2)).toEqual(["m1", "m2"]);
    expect(consumer.isLive).toBe(false);
  });

  it("an exclusive consumer keeps all others out while it lives", async (scene) => {
    const queue = await scene.queue();
    const other = await scene.connect();
    const alone = await scene.broker.consume(queue, { prefetch: 5, exclusive: true });
    for (const exclusive of [false, true]) {
      for (const broker of [scene.broker, other]) {
        expect(await errorOf(broker.consume(queue, { prefetch: 1, exclusive })))
          .toBeInstanceOf(QueueTakenError);
      }
    }
    expect(() => alone.setPrefetch(6)).toThrow(RangeError);
    await scene.fill(queue, numbered(20));
    const reader = new Reader(alone);
    for (const text of numbered(20)) {
      const delivery = await reader.next();
      expect(textOf(delivery)).toBe(text);
      delivery.ack();
    }
    await alone.close();
    const next = await other.consume(queue, { prefetch: 1, exclusive: true });
    expect(next.isLive).toBe(true);
  });

  it("a queue that has consumers cannot be had exclusively", async (scene) => {
    const queue = await scene.queue();
    const other = await scene.connect();
    const first = await scene.broker.consume(queue, { prefetch: 1 });
    expect(await errorOf(other.consume(queue, { prefetch: 1, exclusive: true })))
      .toBeInstanceOf(QueueTakenError);
    await first.close();
    expect((await other.consume(queue, { prefetch: 1, exclusive: true })).isLive).toBe(true);
  });
}
