/** Silence of the broker: what counts as it, and what comes of it. */
import { expect, test } from "bun:test";
import { sharedRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import { Watchdog } from "../../../src/broker/amqp/watchdog.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import {
  errorOf,
  eventually,
  Reader,
  RESTORED_LIMIT_MS,
  Stage,
  TEST_LIMIT_MS,
  toQueue,
  urlOf,
} from "./scene.ts";

const HEARTBEAT_MS = 1_000;

function watched() {
  const clock = new FakeClock();
  const seen = { beats: 0, silentMs: 0, sentBytes: 0 };
  const watchdog = new Watchdog({
    heartbeatMs: HEARTBEAT_MS,
    clock,
    sentBytes: () => seen.sentBytes,
    beat: () => seen.beats++,
    silent: (silentMs) => seen.silentMs = silentMs,
  });
  return { clock, seen, watchdog };
}

/** Moves time in small steps, as a process that is not held up does. */
function pass(clock: FakeClock, ms: number): void {
  for (let passed = 0; passed < ms; passed += 100) clock.advance(100);
}

test("two heartbeats without a byte are silence, told once", () => {
  const { clock, seen } = watched();
  pass(clock, 2 * HEARTBEAT_MS - 100);
  expect(seen.silentMs).toBe(0);
  pass(clock, 600);
  expect(seen.silentMs).toBeGreaterThanOrEqual(2 * HEARTBEAT_MS);
  expect(clock.timers).toBe(0);
});

test("whatever comes in keeps it quiet", () => {
  const { clock, seen, watchdog } = watched();
  for (let times = 0; times < 10; times++) {
    pass(clock, 2 * HEARTBEAT_MS - 100);
    watchdog.received();
  }
  expect(seen.silentMs).toBe(0);
  watchdog.stop();
  pass(clock, 10 * HEARTBEAT_MS);
  expect(seen.silentMs).toBe(0);
  expect(clock.timers).toBe(0);
});

test("a heartbeat is sent every half interval, unless something else was", () => {
  const { clock, seen, watchdog } = watched();
  pass(clock, HEARTBEAT_MS);
  expect(seen.beats).toBe(2);
  seen.sentBytes += 8;
  watchdog.received();
  pass(clock, HEARTBEAT_MS / 2);
  expect(seen.beats).toBe(2);
  watchdog.received();
  pass(clock, HEARTBEAT_MS / 2);
  expect(seen.beats).toBe(3);
});

test("a process that was held up itself listens once more first", () => {
  const held = new HeldClock();
  const told: number[] = [];
  new Watchdog({
    heartbeatMs: HEARTBEAT_MS,
    clock: held,
    sentBytes: () => 0,
    beat: () => undefined,
    silent: (silentMs) => told.push(silentMs),
  });
  held.fireAt(60_000);
  expect(told).toEqual([]);
  held.fireAt(60_500);
  held.fireAt(61_000);
  held.fireAt(61_500);
  expect(told).toEqual([]);
  held.fireAt(62_000);
  expect(told).toEqual([2_000]);
});

/** A clock whose timers fire when the test says, however late. */
class HeldClock extends FakeClock {
  #at = 0;
  #callback: (() => void) | undefined;

  override monotonic(): number {
    return this.#at;
  }

  override after(_delayMs: number, callback: () => void) {
    this.#callback = callback;
    return { cancel: () => void (this.#callback = undefined) };
  }

  fireAt(at: number): void {
    this.#at = at;
    this.#callback?.();
  }
}

const rabbit = await sharedRabbitMq();

test("a line that is dead in one direction or both is noticed, also while we write", async () => {
  await using stage = new Stage(rabbit);
  for (const directions of [["toClient"], ["toClient", "toTarget"]] as const) {
    const proxy = stage.proxy();
    const broker = await stage.connect({ url: urlOf(proxy.port), heartbeatMs: HEARTBEAT_MS });
    const queue = stage.name();
    await broker.declareQueue({ name: queue });
    proxy.swallow(...directions);
    const silentSince = performance.now();
    const writing = setInterval(() => {
      broker.publish(toQueue(queue, "into the void")).catch(() => clearInterval(writing));
    }, 50);
    await eventually(() => broker.state.kind, (kind) => kind === "away", "the loss to be told");
    expect(performance.now() - silentSince).toBeLessThan(5 * 2.5 * HEARTBEAT_MS);
    clearInterval(writing);
    proxy.carry();
    await eventually(
      () => broker.state.kind,
      (kind) => kind === "connected",
      "the connection to be back",
      RESTORED_LIMIT_MS,
    );
  }
}, TEST_LIMIT_MS);

test("a check finds a dead line long before the heartbeat would, and has it replaced", async () => {
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  const broker = await stage.connect({ url: urlOf(proxy.port), heartbeatMs: 60_000 });
  await broker.check(5_000);
  proxy.swallow("toClient", "toTarget");
  expect(await errorOf(broker.check(500))).toMatchObject({
    name: "BrokerAwayError",
    message: expect.stringContaining("no answer to a check within 500 ms"),
  });
  await eventually(() => broker.state.kind, (kind) => kind === "away", "the loss to be told");
  expect(await errorOf(broker.check(500))).toMatchObject({ name: "BrokerAwayError" });
  proxy.carry();
  await eventually(
    () => broker.state.kind,
    (kind) => kind === "connected",
    "the connection to be back",
    RESTORED_LIMIT_MS,
  );
  await broker.check(5_000);
}, TEST_LIMIT_MS);

test("a connection that only ever receives is not taken for dead by the broker", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect({ heartbeatMs: HEARTBEAT_MS });
  const states: string[] = [];
  broker.watch(({ kind }) => states.push(kind));
  const replies = await broker.openPrivateQueue({ prefix: "busy" });
  const reader = new Reader(replies);
  const other = await stage.connect();
  // RabbitMQ sends no heartbeats while it sends messages, so there are none to answer.
  const until = performance.now() + 4 * HEARTBEAT_MS;
  while (performance.now() < until) {
    await other.publish(toQueue(replies.name ?? "", "reply"), { confirm: true });
    await reader.next();
  }
  expect(states).toEqual([]);
}, TEST_LIMIT_MS);
