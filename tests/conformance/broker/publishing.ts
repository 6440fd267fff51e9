/** What a publisher is told, and what it is refused. */
import { expect } from "bun:test";
import { BrokerAwayError, PublishRefusedError } from "../../../src/broker/errors.ts";
import type { HeaderValue, Message } from "../../../src/broker/message.ts";
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
} from "./scene.ts";

const BIG_BODY_BYTES = 10 * 1024 * 1024;

export function publishing(it: SceneTest): void {
  it("publish() tells sent, confirmed and returned apart", async (scene) => {
    const queue = await scene.queue();
    const nowhere = scene.name();
    const { broker } = scene;
    const both = { mandatory: true, confirm: true };
    expect(await broker.publish(toQueue(queue, "a"))).toBe("sent");
    expect(await broker.publish(toQueue(queue, "b"), { confirm: true })).toBe("confirmed");
    expect(await broker.publish(toQueue(queue, "c"), both)).toBe("confirmed");
    expect(await broker.publish(toQueue(queue, "d", { persistent: true }), both)).toBe("confirmed");
    expect(await broker.publish(toQueue(nowhere, "e"), { confirm: true })).toBe("confirmed");
    expect(await broker.publish(toQueue(nowhere, "f"), both)).toBe("returned");
    expect(await broker.publish(toQueue(nowhere, "g", { persistent: true }), both)).toBe(
      "returned",
    );
    await scene.depth(queue, 4);
  });

  it("publish() tells each of many concurrent publishes its own result", async (scene) => {
    const queue = await scene.queue();
    const nowhere = scene.name();
    const results = await Promise.all(
      Array.from({ length: 200 }, (_, index) => {
        const target = index % 3 === 0 ? nowhere : queue;
        return scene.broker.publish(toQueue(target, `${index}`, { persistent: index % 2 === 0 }), {
          mandatory: true,
          confirm: true,
        });
      }),
    );
    results.forEach((result, index) =>
      expect(result).toBe(index % 3 === 0 ? "returned" : "confirmed")
    );
  });

  it("publish() that is mandatory and not confirmed tells watchReturns", async (scene) => {
    const nowhere = scene.name();
    const returned: Message[] = [];
    const unwatch = scene.broker.watchReturns((message) => returned.push(message));
    const sent = toQueue(nowhere, "come back", { correlationId: "c-1", headers: { a: "b" } });
    expect(await scene.broker.publish(sent, { mandatory: true })).toBe("sent");
    await eventually(() => returned.length, (count) => count === 1, "the returned message");
    const [message] = returned;
    if (message === undefined) throw new Error("nothing was returned");
    expect(textOf({ message })).toBe("come back");
    expect(message.routingKey).toBe(nowhere);
    expect(message.properties.correlationId).toBe("c-1");
    expect(message.properties.headers).toEqual({ a: "b" });

    unwatch();
    const second: Message[] = [];
    scene.broker.watchReturns((late) => second.push(late));
    await scene.broker.publish(toQueue(nowhere, "again"), { mandatory: true });
    await scene.broker.publish(toQueue(nowhere, "told to its publisher"), {
      mandatory: true,
      confirm: true,
    });
    await eventually(() => second.length, (count) => count === 1, "the second return");
    expect(returned.length).toBe(1);
  });

  it("publish() to an exchange that does not exist rejects, and the next one passes", async (scene) => {
    const queue = await scene.queue();
    const message = toExchange(scene.name(), "key", "lost");
    const confirmed = scene.broker.publish(message, { confirm: true });
    expect(await errorOf(confirmed)).toBeInstanceOf(PublishRefusedError);
    await publishesAgain(scene, queue);
  });

  it("publish() without confirm to no exchange harms no later publish", async (scene) => {
    const queue = await scene.queue();
    const message = toExchange(scene.name(), "key", "lost");
    await scene.broker.publish(message).catch((error: unknown) =>
      expect(error).toBeInstanceOf(PublishRefusedError)
    );
    await publishesAgain(scene, queue);
  });

  it("publish() rejects what the wire cannot carry, and takes what just fits", async (scene) => {
    const queue = await scene.queue();
    const exchange = await scene.exchange("fanout");
    await scene.broker.bind({ exchange, queue });
    const refused: readonly Message[] = [
      toExchange(exchange, "k".repeat(256), "key"),
      toExchange(exchange, "é".repeat(128), "key of 256 bytes in 128 characters"),
      toExchange("x".repeat(256), "key", "exchange"),
      toQueue(queue, "correlation id", { correlationId: "c".repeat(256) }),
      toQueue(queue, "reply to", { replyTo: "r".repeat(256) }),
      toQueue(queue, "header name", { headers: { ["h".repeat(256)]: "v" } }),
      toQueue(queue, "symbol", { headers: { bad: Symbol("bad") as unknown as HeaderValue } }),
      toQueue(queue, "function", { headers: { bad: (() => 1) as unknown as HeaderValue } }),
      toQueue(queue, "nested", {
        headers: { list: [{ bad: (() => 1) as unknown as HeaderValue }] },
      }),
    ];
    for (const message of refused) {
      expect(await errorOf(scene.broker.publish(message))).toBeInstanceOf(PublishRefusedError);
      expect(await errorOf(scene.broker.publish(message, { confirm: true })))
        .toBeInstanceOf(PublishRefusedError);
    }
    const fits = toExchange(exchange, "k".repeat(255), "fits", {
      headers: { ["h".repeat(255)]: "v" },
    });
    expect(await scene.broker.publish(fits, { confirm: true })).toBe("confirmed");
    await scene.depth(queue, 1);
  });

  it("publish() keeps the order of one publisher's messages, confirmed or not", async (scene) => {
    const queue = await scene.queue();
    const texts = numbered(2000);
    await Promise.all(
      texts.map((text, index) =>
        scene.broker.publish(toQueue(queue, text, { persistent: index % 5 === 0 }), {
          confirm: index % 3 === 0,
          mandatory: index % 4 === 0,
        })
      ),
    );
    const consumer = await scene.broker.consume(queue, { prefetch: 100 });
    expect(await new Reader(consumer).takeTexts(texts.length)).toEqual(texts);
  });

  it("carries bodies of no bytes and of 10 MiB", async (scene) => {
    const queue = await scene.queue();
    const big = new Uint8Array(BIG_BODY_BYTES);
    for (let at = 0; at < big.length; at++) big[at] = (at * 31 + (at >>> 12)) & 0xff;
    for (const persistent of [false, true]) {
      for (const body of [new Uint8Array(0), big]) {
        const message = { exchange: "", routingKey: queue, properties: { persistent }, body };
        expect(await scene.broker.publish(message, { confirm: true })).toBe("confirmed");
      }
    }
    const consumer = await scene.broker.consume(queue, { prefetch: 2 });
    const reader = new Reader(consumer);
    for (const length of [0, BIG_BODY_BYTES, 0, BIG_BODY_BYTES]) {
      const delivery = await reader.next();
      expect(delivery.message.body.length).toBe(length);
      expect(length === 0 || Buffer.compare(delivery.message.body, big) === 0).toBe(true);
      delivery.ack();
    }
  });

  it("a body that is a view into a larger buffer arrives alone", async (scene) => {
    const queue = await scene.queue();
    const body = new TextEncoder().encode("before|middle|after").subarray(7, 13);
    await scene.broker.publish({ exchange: "", routingKey: queue, properties: {}, body });
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    expect(await new Reader(consumer).takeTexts(1)).toEqual(["middle"]);
  });
}

/** A refusal may cost the adapter a channel, but it has to be back at once. */
async function publishesAgain(scene: Scene, queue: string): Promise<void> {
  await eventually(
    () =>
      scene.broker.publish(toQueue(queue, "next"), { confirm: true }).catch((error: unknown) => {
        expect(error).toBeInstanceOf(BrokerAwayError);
      }),
    (result) => result === "confirmed",
    "a publish after the refusal",
    5000,
  );
}
