import { expect, test } from "bun:test";
import { Alarm } from "../../src/async/alarm.ts";
import { FakeClock } from "../support/fake_clock.ts";

/** Whether a wait is over, after all that is ready has run. */
async function isOver(wait: Promise<void>): Promise<boolean> {
  let over = false;
  void wait.then(() => over = true);
  await new Promise((resolve) => setImmediate(resolve));
  return over;
}

test("wait() ends with its time, and not before", async () => {
  const clock = new FakeClock();
  const wait = new Alarm(clock).wait(100);
  clock.advance(99);
  expect(await isOver(wait)).toBe(false);
  clock.advance(1);
  expect(await isOver(wait)).toBe(true);
  expect(clock.timers).toBe(0);
});

test("ring() ends the present wait, or else the next one", async () => {
  const clock = new FakeClock();
  const alarm = new Alarm(clock);
  const wait = alarm.wait(Infinity);
  alarm.ring();
  expect(await isOver(wait)).toBe(true);
  alarm.ring();
  expect(await isOver(alarm.wait(100))).toBe(true);
  expect(await isOver(alarm.wait(100))).toBe(false);
});

test("ringWithin() ends a wait only where it would last longer", async () => {
  const clock = new FakeClock();
  const alarm = new Alarm(clock);
  const wait = alarm.wait(100);
  alarm.ringWithin(100);
  expect(await isOver(wait)).toBe(false);
  alarm.ringWithin(99);
  expect(await isOver(wait)).toBe(true);
  expect(clock.timers).toBe(0);
});

test("wait() ends with its signal, and leaves nothing behind", async () => {
  const clock = new FakeClock();
  const alarm = new Alarm(clock);
  const stop = new AbortController();
  const wait = alarm.wait(100, stop.signal);
  stop.abort();
  expect(await isOver(wait)).toBe(true);
  expect(await isOver(alarm.wait(100, stop.signal))).toBe(true);
  expect(clock.timers).toBe(0);
});
