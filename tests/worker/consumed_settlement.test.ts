/** The failure rule of consumed messages, and the small parts around it. */
import { describe, expect, test } from "bun:test";
import { encodeQueueCommand } from "../../src/calls/wire/control_message.ts";
import { decodeCommand, ownQueueCommand } from "../../src/celery/control/command.ts";
import type { AttemptEnd } from "../../src/isolates/attempt.ts";
import { describeConsumer } from "../../src/tasks/consumer.ts";
import { type Consumed, remember } from "../../src/worker/consumed.ts";
import { settleConsumed } from "../../src/worker/consumed_settlement.ts";
import { Rate } from "../../src/worker/rate.ts";
import { deliveryOf } from "../support/deliveries.ts";
import { FakeClock } from "../support/fake_clock.ts";

const CONSUMED: Consumed = {
  id: "i",
  failures: 0,
  deaths: 0,
  history: [],
  notBeforeAt: undefined,
  envelope: { exchange: "e", routingKey: "k", redelivered: false, queue: "q" },
  properties: { headers: {}, deliveryMode: 1 },
};

describe("settleConsumed()", () => {
  const of = (end: AttemptEnd, consumed: Partial<Consumed> = {}, isStopping = false) =>
    settleConsumed(end, {
      consumed: { ...CONSUMED, ...consumed },
      descriptor: describeConsumer(
        { queue: "q", retry: { limit: 2, base: "1s", cap: "3s" } },
        "/t.ts",
      ),
      isStopping,
    });
  const threw: AttemptEnd = { kind: "threw", error: { type: "E", message: "m" }, headers: {} };

  test("acks what was handled", () => {
    expect(of({ kind: "returned", resultJson: "null", headers: {} })).toEqual({ kind: "done" });
  });

  test("tries a failure again after growing pauses, and gives it up after the last", () => {
    expect(of(threw)).toMatchObject({ kind: "try_again", pauseMs: 1_000, failures: 1 });
    expect(of(threw, { failures: 1 })).toMatchObject({ kind: "try_again", pauseMs: 2_000 });
    expect(of(threw, { failures: 2 })).toEqual({
      kind: "give_up",
      reason: "3 attempts failed, the last: E: m",
      failure: "E: m",
    });
  });

  test("counts a kill at the limit as a failure", () => {
    expect(of({ kind: "timed_out", limitMs: 5_000 })).toMatchObject({
      kind: "try_again",
      failures: 1,
      failure: "it ran past its limit of 5s and was killed",
    });
  });

  test("follows Retry's pause within bounds, and Reject at once", () => {
    expect(of({ ...threw, retry: { afterMs: 5 } })).toMatchObject({ pauseMs: 5 });
    expect(of({ ...threw, retry: { afterMs: 9e9 } })).toMatchObject({ pauseMs: 1_200_000 });
    expect(of({ ...threw, retry: { afterMs: 5 } }, { failures: 2 }).kind).toBe("give_up");
    expect(of({ ...threw, rejected: true })).toMatchObject({ reason: "Rejected: E: m" });
  });

  test("gives up what has killed three isolates, and blames nothing that had not begun", () => {
    const died = { kind: "isolate_died", reason: "exit 1", started: true } as const;
    expect(of(died)).toMatchObject({ kind: "try_again", pauseMs: 0, failures: 0, deaths: 1 });
    expect(of(died, { deaths: 1 })).toMatchObject({ kind: "try_again", deaths: 2 });
    expect(of(died, { deaths: 2 })).toMatchObject({ kind: "give_up" });
    expect(of({ ...died, started: false }, { deaths: 2 })).toMatchObject({
      kind: "try_again",
      pauseMs: 1_000,
      deaths: 2,
    });
  });

  test("gives back what the worker's stop has cut", () => {
    const cancelled = { kind: "cancelled", started: true } as const;
    expect(of(cancelled, {}, true)).toEqual({ kind: "give_back" });
    expect(of(cancelled).kind).toBe("try_again");
  });

  test("gives up what cannot be read, and tries where the isolate lacks the consumer", () => {
    expect(of({ kind: "malformed", reason: "r" })).toMatchObject({ kind: "give_up", reason: "r" });
    expect(of({ kind: "unknown_task" }).kind).toBe("try_again");
  });
});

test("remember() keeps the latest failures, each within a bound", () => {
  let history: readonly string[] = [];
  for (let failures = 0; failures < 30; failures++) {
    history = remember({ ...CONSUMED, history, failures }, "x".repeat(5_000), "node", 0);
  }
  expect(history).toHaveLength(10);
  expect(history[9]).toStartWith("1970-01-01T00:00:00.000+00:00 attempt 30 on node: xxx");
  expect(Math.max(...history.map(({ length }) => length))).toBe(500);
});

test("Rate tells the last ten seconds, and all there was", () => {
  const clock = new FakeClock();
  const rate = new Rate(clock);
  for (let count = 0; count < 50; count++) rate.count();
  expect(rate.perSecond).toBe(50);
  clock.advance(5_000);
  expect(rate.perSecond).toBe(10);
  clock.advance(5_000);
  expect(rate.perSecond).toBe(0);
  rate.count();
  expect(rate.perSecond).toBe(0.1);
  clock.advance(3_600_000);
  expect(rate.perSecond).toBe(0);
  expect(rate.total).toBe(51);
});

describe("a command to pause a queue", () => {
  const read = (message: Parameters<typeof deliveryOf>[0]) => {
    const decoded = decodeCommand(deliveryOf(message));
    return decoded.kind === "command" ? ownQueueCommand(decoded.command) : undefined;
  };
  const from = (command: object) =>
    read({
      ...encodeQueueCommand("q", true),
      body: new TextEncoder().encode(JSON.stringify(command)),
    });

  test("is read as it was written", () => {
    expect(read(encodeQueueCommand("q", true))).toEqual({
      queue: "q",
      isPaused: true,
      isRemembered: true,
    });
    expect(read(encodeQueueCommand("q", false))?.isPaused).toBe(false);
  });

  test("passes over what is none, Celery's own among it", () => {
    const ours = {
      method: "cancel_consumer",
      arguments: { queue: "q" },
      destination: ["cox.workers"],
    };
    expect(from(ours)).toBeDefined();
    expect(from({ ...ours, destination: null })).toBeUndefined();
    expect(from({ ...ours, destination: ["w1@elsewhere"] })).toBeUndefined();
    expect(from({ ...ours, method: "ping" })).toBeUndefined();
    expect(from({ ...ours, arguments: { queue: 7 } })).toBeUndefined();
    expect(from({ ...ours, arguments: undefined })).toBeUndefined();
    expect(from([1])).toBeUndefined();
  });
});
