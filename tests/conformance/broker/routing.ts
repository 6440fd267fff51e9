/** Exchanges and bindings: which queues a message reaches. */
import { expect } from "bun:test";
import fc from "fast-check";
import type { ExchangeType } from "../../../src/broker/broker.ts";
import { DeclarationError, PublishRefusedError } from "../../../src/broker/errors.ts";
import { type ModelBinding, type ModelMessage, routingModels } from "./routing_model.ts";
import {
  errorOf,
  eventually,
  type Scene,
  type SceneTest,
  textOf,
  toExchange,
  toQueue,
} from "./scene.ts";

const exchangeTypes: readonly ExchangeType[] = ["direct", "fanout", "topic", "headers"];
const QUEUES = 3;

export function routing(it: SceneTest): void {
  for (const type of exchangeTypes) {
    const model = routingModels[type];
    const cases = fc.record({
      bindings: fc.array(fc.record({ queue: fc.nat(QUEUES - 1), binding: model.binding }), {
        minLength: 1,
        maxLength: 6,
      }),
      messages: fc.array(model.message, { minLength: 1, maxLength: 5 }),
    });
    it(`exchange "${type}" routes as its model says, once to each queue`, async (scene) => {
      const queues = await Promise.all(Array.from({ length: QUEUES }, () => scene.queue()));
      await fc.assert(
        fc.asyncProperty(cases, async ({ bindings, messages }) => {
          const exchange = await scene.exchange(type);
          const specs = bindings.map(({ queue, binding }) => ({
            exchange,
            queue: queues[queue] ?? "",
            ...binding,
          }));
          for (const spec of specs) await scene.broker.bind(spec);
          for (const message of messages) {
            const expected = queues.map((queue) =>
              specs.some((spec) => spec.queue === queue && model.matches(spec, message)) ? 1 : 0
            );
            expect(await reached(scene, exchange, message, queues)).toEqual(expected);
          }
          await unbindAll(scene, specs);
        }),
        { numRuns: 30 },
      );
    });
  }

  it("the default exchange routes by the queue's name", async (scene) => {
    const queue = await scene.queue();
    await scene.queue();
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    await scene.broker.publish(toQueue(queue, "hello"));
    for await (const delivery of consumer) {
      expect(textOf(delivery)).toBe("hello");
      expect(delivery.message.exchange).toBe("");
      expect(delivery.message.routingKey).toBe(queue);
      expect(delivery.queue).toBe(queue);
      delivery.ack();
      break;
    }
  });

  it("bind() twice is one binding, unbind() ends it, and again is fine", async (scene) => {
    const [queue, other] = [await scene.queue(), await scene.queue()];
    const exchange = await scene.exchange("direct");
    const spec = { exchange, queue, routingKey: "key" };
    await scene.broker.bind({ exchange, queue: other, routingKey: "other" });
    await scene.broker.bind(spec);
    await scene.broker.bind(spec);
    const message = { routingKey: "key", headers: {} };
    expect(await reached(scene, exchange, message, [queue])).toEqual([1]);
    await scene.broker.unbind(spec);
    expect(await reached(scene, exchange, message, [queue])).toEqual([0]);
    await scene.broker.unbind(spec);
    await scene.broker.unbind({ ...spec, routingKey: "never bound" });
  });

  it("bind() rejects with DeclarationError where either end is missing", async (scene) => {
    const queue = await scene.queue();
    const exchange = await scene.exchange("fanout");
    const nowhere = scene.name();
    expect(await errorOf(scene.broker.bind({ exchange: nowhere, queue })))
      .toBeInstanceOf(DeclarationError);
    expect(await errorOf(scene.broker.bind({ exchange, queue: nowhere })))
      .toBeInstanceOf(DeclarationError);
    await scene.broker.bind({ exchange, queue });
    expect(await reached(scene, exchange, { routingKey: "", headers: {} }, [queue])).toEqual([1]);
  });

  it("declareExchange() twice is fine; with another type or flag it rejects", async (scene) => {
    const name = await scene.exchange("topic", { durable: false });
    await scene.broker.declareExchange({ name, type: "topic", durable: false, autoDelete: true });
    for (
      const spec of [
        { name, type: "direct", durable: false, autoDelete: true },
        { name, type: "topic", durable: true, autoDelete: true },
        { name, type: "topic", durable: false, autoDelete: false },
      ] as const
    ) {
      expect(await errorOf(scene.broker.declareExchange(spec))).toBeInstanceOf(DeclarationError);
    }
    const queue = await scene.queue();
    await scene.broker.bind({ exchange: name, queue, routingKey: "#" });
    expect(await reached(scene, name, { routingKey: "x", headers: {} }, [queue])).toEqual([1]);
  });

  it("an auto-delete exchange goes with its last binding", async (scene) => {
    const queue = await scene.queue();
    const exchange = await scene.exchange("fanout");
    await scene.broker.bind({ exchange, queue });
    await scene.broker.unbind({ exchange, queue });
    const error = await errorOf(
      scene.broker.publish(toExchange(exchange, "", "late"), { confirm: true }),
    );
    expect(error).toBeInstanceOf(PublishRefusedError);
  });

  it("deleting a queue takes its bindings away", async (scene) => {
    const [queue, other] = [await scene.queue(), await scene.queue()];
    const exchange = await scene.exchange("fanout");
    await scene.broker.bind({ exchange, queue });
    await scene.broker.bind({ exchange, queue: other });
    await scene.broker.deleteQueue(queue);
    await scene.broker.declareQueue({ name: queue });
    expect(await reached(scene, exchange, { routingKey: "", headers: {} }, [queue, other]))
      .toEqual([0, 1]);
  });

  it("names that are empty, reserved or over 255 bytes are refused", async (scene) => {
    const queue = await scene.queue();
    const exchange = await scene.exchange("fanout");
    const long = "n".repeat(256);
    const attempts: readonly (() => Promise<unknown>)[] = [
      () => scene.broker.declareExchange({ name: "", type: "direct" }),
      () => scene.broker.declareExchange({ name: "amq.mine", type: "direct" }),
      () => scene.broker.declareExchange({ name: long, type: "direct" }),
      () => scene.broker.declareQueue({ name: "" }),
      () => scene.broker.declareQueue({ name: "amq.mine" }),
      () => scene.broker.declareQueue({ name: long }),
      () => scene.broker.bind({ exchange: "", queue, routingKey: "x" }),
      () => scene.broker.bind({ exchange, queue: "" }),
      () => scene.broker.bind({ exchange, queue, routingKey: long }),
      () => scene.broker.consume("", { prefetch: 1 }),
    ];
    for (const attempt of attempts) {
      expect(await errorOf(attempt())).toBeInstanceOf(DeclarationError);
    }
    await eventually(
      () => scene.broker.publish(toQueue(queue, "still here"), { confirm: true }),
      (result) => result === "confirmed",
      "a publish after the refusals",
    );
  });
}

/** Publishes one message and tells how many copies each queue got. */
async function reached(
  scene: Scene,
  exchange: string,
  message: ModelMessage,
  queues: readonly string[],
): Promise<number[]> {
  const { routingKey, headers } = message;
  await scene.broker.publish(toExchange(exchange, routingKey, "x", { headers }), { confirm: true });
  const counts: number[] = [];
  for (const queue of queues) counts.push(await scene.broker.purgeQueue(queue));
  return counts;
}

async function unbindAll(
  scene: Scene,
  specs: readonly ({ exchange: string; queue: string } & ModelBinding)[],
): Promise<void> {
  for (const spec of specs) await scene.broker.unbind(spec);
}
