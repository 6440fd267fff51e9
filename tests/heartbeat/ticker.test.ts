/** The ticker's promises, in fake time. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { Heartbeat } from "../../src/heartbeat/ticker.ts";
import { FakeClock } from "../support/fake_clock.ts";

let logged: LogRecord[] = [];

beforeEach(async () => {
  logged = [];
  await configure({
    sinks: { kept: (record) => logged.push(record) },
    loggers: [
      { category: ["coxswain"], sinks: ["kept"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
    reset: true,
  });
});
afterEach(() => reset());

async function started(): Promise<{ clock: FakeClock; heartbeat: Heartbeat }> {
  const clock = new FakeClock();
  const heartbeat = new Heartbeat({ clock });
  await heartbeat.start();
  return { clock, heartbeat };
}

/** Lets time pass in small steps, with everything that promises do in between. */
async function pass(clock: FakeClock, ms: number, stepMs = 100): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    clock.advance(Math.min(stepMs, ms - passed));
    await Promise.resolve();
    await Promise.resolve();
  }
}

describe("heartbeat", () => {
  test("beats each second: 60 in a minute, and callbacks run 30 and 12 times", async () => {
    const { clock, heartbeat } = await started();
    const runs = { two: 0, five: 0 };
    heartbeat.register(async () => {
      await Promise.resolve();
      runs.two++;
    }, "2s");
    heartbeat.register(() => Promise.resolve(runs.five++), 5_000);
    await pass(clock, 60_000);
    expect(heartbeat.count).toBe(60);
    expect(runs).toEqual({ two: 30, five: 12 });
  });

  test("a callback registered before the start counts from the start", async () => {
    const clock = new FakeClock();
    const heartbeat = new Heartbeat({ clock });
    let runs = 0;
    heartbeat.register(() => runs++, "2s");
    clock.advance(30_000);
    expect([heartbeat.count, runs, heartbeat.isBeating]).toEqual([0, 0, false]);
    await heartbeat.start();
    await heartbeat.start();
    clock.advance(2_000);
    expect([heartbeat.count, runs, heartbeat.isBeating]).toEqual([2, 1, true]);
  });

  test("an interval that is no multiple of the beat keeps its own schedule", async () => {
    const { clock, heartbeat } = await started();
    const at: number[] = [];
    heartbeat.register(() => at.push(clock.monotonic()), "1500ms");
    clock.advance(9_000);
    expect(at).toEqual([2_000, 3_000, 5_000, 6_000, 8_000, 9_000]);
  });

  test("beats do not drift where every timer is late", async () => {
    const clock = new LateClock(7);
    const heartbeat = new Heartbeat({ clock });
    await heartbeat.start();
    clock.advance(60_010);
    expect(heartbeat.count).toBe(60);
  });

  test("a loop blocked for 3 s loses no count, and runs what was due once", async () => {
    const clock = new LateClock(0);
    const heartbeat = new Heartbeat({ clock });
    const runs = { blocks: 0, well: 0 };
    heartbeat.register(() => {
      runs.blocks++;
      if (heartbeat.count === 10) clock.block(3_400);
    }, "1s");
    heartbeat.register(() => runs.well++, "1s");
    await heartbeat.start();
    clock.advance(10_001);
    expect([heartbeat.count, runs]).toEqual([13, { blocks: 11, well: 11 }]);
    clock.advance(60_000 - clock.monotonic());
    expect([heartbeat.count, runs]).toEqual([60, { blocks: 58, well: 58 }]);
    expect(heartbeat.isBeating).toBe(true);
    clock.block(4_000);
    expect(heartbeat.isBeating).toBe(false);
  });

  test("a timer that fires early makes no beat twice", async () => {
    const clock = new LateClock(-0.5);
    const heartbeat = new Heartbeat({ clock });
    let runs = 0;
    heartbeat.register(() => runs++, "1s");
    await heartbeat.start();
    clock.advance(60_000);
    expect([heartbeat.count, runs]).toEqual([60, 60]);
  });

  test("an unregistered callback never runs again, not even in this very beat", async () => {
    const { clock, heartbeat } = await started();
    const ran: string[] = [];
    heartbeat.register(() => {
      ran.push("first");
      expect(heartbeat.unregister(second)).toBe(true);
    }, "2s");
    const second = heartbeat.register(() => ran.push("second"), "2s");
    const third = heartbeat.register(() => {
      ran.push("third");
      heartbeat.unregister(third);
    }, "2s");
    clock.advance(2_000);
    expect(ran).toEqual(["first", "third"]);
    clock.advance(2_000);
    expect(ran).toEqual(["first", "third", "first"]);
    expect(heartbeat.unregister(second)).toBe(false);
  });

  test("what is registered in a beat is first called one interval later", async () => {
    const { clock, heartbeat } = await started();
    const at: number[] = [];
    const once = heartbeat.register(() => {
      heartbeat.unregister(once);
      heartbeat.register(() => at.push(clock.monotonic()), "1s");
    }, "1s");
    clock.advance(3_000);
    expect(at).toEqual([2_000, 3_000]);
  });

  test("a callback that throws or rejects is logged once with its id, and called on", async () => {
    const { clock, heartbeat } = await started();
    const runs = { throws: 0, rejects: 0, well: 0 };
    const ids = [
      heartbeat.register(() => {
        runs.throws++;
        throw new Error("thrown");
      }, "1s"),
      heartbeat.register(() => {
        runs.rejects++;
        return Promise.reject(new Error("rejected"));
      }, "1s"),
    ];
    heartbeat.register(() => runs.well++, "1s");
    await pass(clock, 60_000);
    expect(runs).toEqual({ throws: 60, rejects: 60, well: 60 });
    expect(logged.map(({ level, properties }) => [level, properties.callback])).toEqual([
      ["error", ids[0]],
      ["error", ids[1]],
    ]);
    expect(heartbeat.count).toBe(60);
  });

  test("a callback that hangs is not started again, and stops nothing else", async () => {
    const { clock, heartbeat } = await started();
    const runs = { hangs: 0, well: 0 };
    const release = Promise.withResolvers<void>();
    const id = heartbeat.register(() => {
      runs.hangs++;
      return release.promise;
    }, "1s");
    heartbeat.register(() => runs.well++, "1s");
    await pass(clock, 30_000);
    expect(runs).toEqual({ hangs: 1, well: 30 });
    expect(heartbeat.count).toBe(30);
    expect(logged.map(({ level, properties }) => [level, properties.callback])).toEqual([
      ["warning", id],
    ]);
    release.resolve();
    await pass(clock, 5_000);
    expect(runs).toEqual({ hangs: 6, well: 35 });
  });

  test("stops for good, from within a callback too", async () => {
    const { clock, heartbeat } = await started();
    heartbeat.register(() => heartbeat.stop(), "3s");
    clock.advance(60_000);
    expect([heartbeat.count, heartbeat.isBeating, clock.timers]).toEqual([3, false, 0]);
    await heartbeat.stop();
  });

  test("alive() tells others when it is asked to", async () => {
    let told = 0;
    const heartbeat = new Heartbeat({
      alive: () => {
        told++;
        return Promise.resolve();
      },
    });
    await heartbeat.alive();
    expect(told).toBe(1);
    await new Heartbeat().alive();
  });

  test("refuses intervals that it cannot keep, and names that are taken", async () => {
    const { heartbeat } = await started();
    for (const interval of [0, 999, -1, NaN, Infinity, "500ms", "5", "soon"]) {
      expect(() => heartbeat.register(() => undefined, interval)).toThrow(RangeError);
    }
    heartbeat.register(() => undefined, "1s", "mine");
    expect(() => heartbeat.register(() => undefined, "1s", "mine")).toThrow('"mine"');
  });
});

/** Timers fire late (or early) by so much, and the loop can be blocked. */
class LateClock extends FakeClock {
  readonly #lateMs: number;
  #skewMs = 0;

  constructor(lateMs: number) {
    super();
    this.#lateMs = lateMs;
  }

  override monotonic(): number {
    return super.monotonic() + this.#skewMs;
  }

  override after(delayMs: number, callback: () => void) {
    return super.after(delayMs + this.#lateMs, callback);
  }

  /** Time goes on, and no timer is looked at. */
  block(ms: number): void {
    this.#skewMs += ms;
  }
}
