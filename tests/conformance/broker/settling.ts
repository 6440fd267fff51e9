/** What ack and nack do, once and twice, and where rejected messages go. */
import { expect } from "bun:test";
import { drain, numbered, Reader, type SceneTest, textOf, toExchange } from "./scene.ts";

export function settling(it: SceneTest): void {
  it("ack() makes the broker forget the message", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, ["m1"]);
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    const delivery = await new Reader(consumer).next();
    expect(delivery.redelivered).toBe(false);
    delivery.ack();
    await consumer.close();
    await scene.depth(queue, 0);
  });

  it("nack() with requeue delivers again, at its old place and marked redelivered", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(3));
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    const reader = new Reader(consumer);
    (await reader.next()).nack({ requeue: true });
    const again = await reader.next();
    expect(textOf(again)).toBe("m1");
    expect(again.redelivered).toBe(true);
    again.ack();
    const next = await reader.next();
    expect(textOf(next)).toBe("m2");
    expect(next.redelivered).toBe(false);
  });

  it("nack() with requeue of several keeps their order", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(5));
    const consumer = await scene.broker.consume(queue, { prefetch: 4 });
    const held = await new Reader(consumer).take(4);
    await consumer.cancel();
    for (const at of [2, 0, 3, 1]) held[at]?.nack({ requeue: true });
    await scene.depth(queue, 5);
    const again = await drain(scene.broker, queue);
    expect(again.map(textOf)).toEqual(numbered(5));
    expect(again.map(({ redelivered }) => redelivered)).toEqual([true, true, true, true, false]);
  });

  it("nack() without requeue and without a dead-letter exchange drops", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(2));
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    const reader = new Reader(consumer);
    (await reader.next()).nack({ requeue: false });
    expect(textOf(await reader.next())).toBe("m2");
    await consumer.close();
    await scene.depth(queue, 1);
  });

  it("nack() without requeue dead-letters with the story and the properties", async (scene) => {
    const grave = await scene.queue();
    const exchange = await scene.exchange("direct");
    await scene.broker.bind({ exchange, queue: grave, routingKey: "sentence" });
    const queue = await scene.queue({
      deadLetterExchange: exchange,
      deadLetterRoutingKey: "sentence",
    });
    await scene.fill(queue, ["guilty"], {
      correlationId: "c-1",
      headers: { mine: "kept" },
      expirationMs: 600_000,
    });
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    (await new Reader(consumer).next()).nack({ requeue: false });
    await scene.depth(grave, 1);
    const [dead] = await drain(scene.broker, grave);
    if (dead === undefined) throw new Error("no dead letter");
    const { properties, routingKey } = dead.message;
    expect(textOf(dead)).toBe("guilty");
    expect(dead.redelivered).toBe(false);
    expect(dead.message.exchange).toBe(exchange);
    expect(routingKey).toBe("sentence");
    expect(properties.correlationId).toBe("c-1");
    expect(properties.expirationMs).toBeUndefined();
    expect(properties.headers?.["mine"]).toBe("kept");
    expect(properties.headers?.["x-first-death-reason"]).toBe("rejected");
    expect(properties.headers?.["x-first-death-queue"]).toBe(queue);
    expect(properties.headers?.["x-first-death-exchange"]).toBe("");
    expect(Array.isArray(properties.headers?.["x-death"])).toBe(true);
  });

  it("a dead letter keeps its own routing key where the queue names none", async (scene) => {
    const grave = await scene.queue();
    const dead = await scene.exchange("fanout");
    await scene.broker.bind({ exchange: dead, queue: grave });
    const queue = await scene.queue({ deadLetterExchange: dead });
    const entry = await scene.exchange("topic");
    await scene.broker.bind({ exchange: entry, queue, routingKey: "#" });
    await scene.broker.publish(toExchange(entry, "own.key", "x"), { confirm: true });
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    (await new Reader(consumer).next()).nack({ requeue: false });
    await scene.depth(grave, 1);
    const [letter] = await drain(scene.broker, grave);
    expect(letter?.message.routingKey).toBe("own.key");
    expect(letter?.message.properties.headers?.["x-first-death-exchange"]).toBe(entry);
  });

  it("a headers exchange sorts dead letters by the message's own headers", async (scene) => {
    const grave = await scene.queue();
    const dead = await scene.exchange("headers");
    await scene.broker.bind({ exchange: dead, queue: grave, arguments: { kind: "job" } });
    const queue = await scene.queue({ deadLetterExchange: dead });
    await scene.fill(queue, ["call"], { headers: { kind: "call" } });
    await scene.fill(queue, ["job"], { headers: { kind: "job" } });
    const consumer = await scene.broker.consume(queue, { prefetch: 2 });
    for (const delivery of await new Reader(consumer).take(2)) delivery.nack({ requeue: false });
    await scene.depth(grave, 1);
    expect((await drain(scene.broker, grave)).map(textOf)).toEqual(["job"]);
  });

  it("a dead-letter exchange that does not exist drops quietly", async (scene) => {
    const queue = await scene.queue({ deadLetterExchange: scene.name() });
    await scene.fill(queue, numbered(2));
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    const reader = new Reader(consumer);
    (await reader.next()).nack({ requeue: false });
    expect(textOf(await reader.next())).toBe("m2");
  });

  it("settling twice does nothing, and harms no other delivery", async (scene) => {
    const grave = await scene.queue();
    const dead = await scene.exchange("fanout");
    await scene.broker.bind({ exchange: dead, queue: grave });
    const queue = await scene.queue({ deadLetterExchange: dead });
    await scene.fill(queue, numbered(4));
    const consumer = await scene.broker.consume(queue, { prefetch: 3 });
    const reader = new Reader(consumer);
    const [first, second, third] = await reader.take(3);
    first?.ack();
    first?.ack();
    first?.nack({ requeue: true });
    first?.nack({ requeue: false });
    second?.nack({ requeue: false });
    second?.ack();
    second?.nack({ requeue: true });
    expect(textOf(await reader.next())).toBe("m4");
    third?.ack();
    await scene.depth(grave, 1);
    await scene.fill(queue, ["m5"]);
    expect(textOf(await reader.next())).toBe("m5");
    expect(consumer.isLive).toBe(true);
  });

  it("deliveries may be settled in any order", async (scene) => {
    const queue = await scene.queue();
    await scene.fill(queue, numbered(6));
    const consumer = await scene.broker.consume(queue, { prefetch: 6 });
    const held = await new Reader(consumer).take(6);
    for (const at of [5, 0, 3]) held[at]?.ack();
    await consumer.close();
    await scene.depth(queue, 3);
    expect((await drain(scene.broker, queue)).map(textOf)).toEqual(["m2", "m3", "m5"]);
  });
}
