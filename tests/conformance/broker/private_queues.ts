/** Exclusive queues: who may use them, how long they live. */
import { expect } from "bun:test";
import { BrokerAwayError, DeclarationError } from "../../../src/broker/errors.ts";
import {
  errorOf,
  eventually,
  numbered,
  Reader,
  type SceneTest,
  textOf,
  toExchange,
  toQueue,
  within,
} from "./scene.ts";

const RETURN = { mandatory: true, confirm: true };

export function privateQueues(it: SceneTest): void {
  it("openPrivateQueue() receives at once under a fresh name with its prefix", async (scene) => {
    const [first, second] = await Promise.all([
      scene.broker.openPrivateQueue({ prefix: "reply" }),
      scene.broker.openPrivateQueue({ prefix: "reply" }),
    ]);
    expect(first.name).toStartWith("reply");
    expect(first.name).not.toBe(second.name);
    const other = await scene.connect();
    expect(await other.publish(toQueue(first.name ?? "", "answer"), RETURN)).toBe("confirmed");
    const delivery = await new Reader(first).next();
    expect(textOf(delivery)).toBe("answer");
    expect(delivery.queue).toBe(first.name ?? "");
    delivery.ack();
    delivery.nack({ requeue: true });
  });

  it("a private queue without prefetch takes any number, in order, with no ack", async (scene) => {
    const queue = await scene.broker.openPrivateQueue({ prefix: "reply" });
    const texts = numbered(1000);
    const reader = new Reader(queue);
    await scene.fill(queue.name ?? "", texts);
    expect((await reader.take(texts.length)).map(textOf)).toEqual(texts);
  });

  it("a private queue with prefetch holds back until an ack", async (scene) => {
    const queue = await scene.broker.openPrivateQueue({ prefix: "commands", prefetch: 1 });
    const reader = new Reader(queue);
    await scene.fill(queue.name ?? "", numbered(3));
    const first = await reader.next();
    expect(textOf(first)).toBe("m1");
    first.nack({ requeue: true });
    const again = await reader.next();
    expect([textOf(again), again.redelivered]).toEqual(["m1", true]);
    again.ack();
    expect(await reader.takeTexts(2)).toEqual(["m2", "m3"]);
  });

  it("a private queue comes with its bindings", async (scene) => {
    const fanout = await scene.exchange("fanout");
    const topic = await scene.exchange("topic");
    const queue = await scene.broker.openPrivateQueue({
      prefix: "notices",
      bindings: [{ exchange: fanout }, { exchange: topic, routingKey: "a.*" }],
    });
    const reader = new Reader(queue);
    const send = (exchange: string, key: string) =>
      scene.broker.publish(toExchange(exchange, key, `${key} to all`), RETURN);
    expect(await send(fanout, "x")).toBe("confirmed");
    expect(await send(topic, "a.b")).toBe("confirmed");
    expect(await send(topic, "b.a")).toBe("returned");
    expect((await reader.take(2)).map(textOf)).toEqual(["x to all", "a.b to all"]);
  });

  it("openPrivateQueue() rejects where a binding's exchange is missing", async (scene) => {
    const missing = scene.broker.openPrivateQueue({
      prefix: "notices",
      bindings: [{ exchange: scene.name() }],
    });
    expect(await errorOf(missing)).toBeInstanceOf(DeclarationError);
    const next = await scene.broker.openPrivateQueue({ prefix: "notices" });
    expect(next.name).toBeString();
  });

  it("bind() and unbind() change where a private queue hears from, hundreds at once", async (scene) => {
    const direct = await scene.exchange("direct");
    const queue = await scene.broker.openPrivateQueue({ prefix: "commands", prefetch: 300 });
    const reader = new Reader(queue);
    const keys = numbered(300);
    await Promise.all(keys.map((routingKey) => queue.bind({ exchange: direct, routingKey })));
    await queue.bind({ exchange: direct, routingKey: "m1" });
    const send = (key: string) => scene.broker.publish(toExchange(direct, key, key), RETURN);
    const results = await Promise.all(keys.map(send));
    expect(results.every((result) => result === "confirmed")).toBe(true);
    expect(await reader.takeTexts(300)).toEqual(keys);
    await Promise.all(
      keys.slice(1).map((routingKey) => queue.unbind({ exchange: direct, routingKey })),
    );
    await queue.unbind({ exchange: direct, routingKey: "never bound" });
    expect([await send("m1"), await send("m2"), await send("m300")])
      .toEqual(["confirmed", "returned", "returned"]);
  });

  it("bind() of a private queue to a missing exchange rejects, and hits no other", async (scene) => {
    const direct = await scene.exchange("direct");
    const queue = await scene.broker.openPrivateQueue({ prefix: "commands" });
    const reader = new Reader(queue);
    const [good, missing, goodToo] = await Promise.all([
      queue.bind({ exchange: direct, routingKey: "a" }),
      errorOf(queue.bind({ exchange: scene.name(), routingKey: "a" })),
      queue.bind({ exchange: direct, routingKey: "b" }),
    ]);
    expect(missing).toBeInstanceOf(DeclarationError);
    expect([good, goodToo]).toEqual([undefined, undefined]);
    for (const key of ["a", "b"]) {
      expect(await scene.broker.publish(toExchange(direct, key, key), RETURN)).toBe("confirmed");
    }
    expect(await reader.takeTexts(2)).toEqual(["a", "b"]);
    await queue.close();
    expect(await errorOf(queue.bind({ exchange: direct, routingKey: "c" })))
      .toBeInstanceOf(BrokerAwayError);
    await queue.unbind({ exchange: direct, routingKey: "a" });
  });

  it("another connection can neither consume nor declare it", async (scene) => {
    const queue = await scene.broker.openPrivateQueue({ prefix: "mine" });
    const name = queue.name ?? "";
    const other = await scene.connect();
    expect(await errorOf(other.consume(name, { prefetch: 1 }))).toBeInstanceOf(DeclarationError);
    expect(await errorOf(other.declareQueue({ name }))).toBeInstanceOf(DeclarationError);
    await other.publish(toQueue(name, "still mine"), { confirm: true });
    expect(textOf(await new Reader(queue).next())).toBe("still mine");
  });

  it("close() deletes the queue, ends the loop and tells the watcher; twice is fine", async (scene) => {
    const queue = await scene.broker.openPrivateQueue({ prefix: "reply" });
    const name = queue.name ?? "";
    const names: (string | undefined)[] = [];
    queue.watch((value) => names.push(value));
    const reader = new Reader(queue);
    const end = reader.end();
    await Promise.all([queue.close(), queue.close()]);
    await end;
    expect(queue.name).toBeUndefined();
    expect(names).toEqual([undefined]);
    expect(await scene.broker.publish(toQueue(name, "late"), RETURN)).toBe("returned");
  });

  it("leaving the loop closes it", async (scene) => {
    const queue = await scene.broker.openPrivateQueue({ prefix: "reply" });
    const name = queue.name ?? "";
    await scene.fill(name, ["only"]);
    for await (const delivery of queue) {
      expect(textOf(delivery)).toBe("only");
      break;
    }
    expect(queue.name).toBeUndefined();
    await eventually(
      () => scene.broker.publish(toQueue(name, "late"), RETURN),
      (result) => result === "returned",
      "the queue to be gone",
    );
  });

  it("it is gone with its connection", async (scene) => {
    const other = await scene.connect();
    const queue = await other.openPrivateQueue({ prefix: "reply" });
    const name = queue.name ?? "";
    const reader = new Reader(queue);
    await within(other.stop(), "the connection to stop");
    await reader.end();
    expect(queue.name).toBeUndefined();
    await eventually(
      () => scene.broker.publish(toQueue(name, "late"), RETURN),
      (result) => result === "returned",
      "the queue to be gone",
    );
  });
}
