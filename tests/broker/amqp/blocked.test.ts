/** A broker in need of memory or disk: it takes no messages, and everything else goes on. */
import { afterEach, expect, test } from "bun:test";
import { sharedRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import type { Broker } from "../../../src/broker/broker.ts";
import { BrokerAwayError } from "../../../src/broker/errors.ts";
import { errorOf, eventually, Reader, Stage, TEST_LIMIT_MS, toQueue, within } from "./scene.ts";

const rabbit = await sharedRabbitMq();

const raiseAlarm = () => rabbit.ctl("set_vm_memory_high_watermark", "0.000001");
const endAlarm = () => rabbit.ctl("set_vm_memory_high_watermark", "absolute", "2GB");
afterEach(endAlarm);

function blockedReason({ state }: Broker): string | undefined {
  return state.kind === "connected" ? state.blocked : undefined;
}

test(
  "blocked: publishes reject at once, acks and deliveries go on; unblocked: all goes on",
  async () => {
    await using stage = new Stage(rabbit);
    const broker = await stage.connect();
    const queue = stage.name();
    await broker.declareQueue({ name: queue });
    for (const text of ["a", "b"]) await broker.publish(toQueue(queue, text), { confirm: true });
    const kinds: string[] = [];
    broker.watch(({ kind }) => kinds.push(kind));
    raiseAlarm();
    // The broker blocks a connection at its first publish; that one waits for its confirm.
    const waiting = broker.publish(toQueue(queue, "c"), { confirm: true });
    await eventually(() => blockedReason(broker), (reason) => reason !== undefined, "the block");
    const asked = performance.now();
    expect(await errorOf(broker.publish(toQueue(queue, "d")))).toBeInstanceOf(BrokerAwayError);
    const error = await errorOf(broker.publish(toQueue(queue, "d"), { confirm: true }));
    expect(error.message).toContain("low on memory");
    expect(performance.now() - asked).toBeLessThan(250);
    // A connection that the broker does not read is not dead.
    await broker.check(2_000);

    const reader = new Reader(await broker.consume(queue, { prefetch: 1 }));
    expect(await reader.takeTexts(2)).toEqual(["a", "b"]);
    await eventually(
      async () => (await broker.inspectQueue(queue))?.messages,
      (messages) => messages === 0,
      "an empty queue",
    );

    endAlarm();
    expect(await within(waiting, "the confirm")).toBe("confirmed");
    await eventually(
      () => blockedReason(broker),
      (reason) => reason === undefined,
      "the end of it",
    );
    expect(await broker.publish(toQueue(queue, "e"), { confirm: true })).toBe("confirmed");
    expect(await reader.takeTexts(2)).toEqual(["c", "e"]);
    expect(new Set(kinds)).toEqual(new Set(["connected"]));
  },
  TEST_LIMIT_MS,
);

test("stop() of a blocked broker ends, and what was not confirmed is told", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  raiseAlarm();
  const lost = errorOf(broker.publish(toQueue(queue, "c"), { confirm: true }));
  await eventually(() => blockedReason(broker), (reason) => reason !== undefined, "the block");
  await within(broker.stop(), "the stop");
  expect(await lost).toBeInstanceOf(BrokerAwayError);
}, TEST_LIMIT_MS);
