import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Deadlines } from "../../src/async/deadlines.ts";
import { FakeClock } from "../support/fake_clock.ts";

describe("Deadlines", () => {
  test("expires in the order of the instants, each once", () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    const seen: number[] = [];
    for (const at of [30, 10, 20, 10]) deadlines.set(at, () => seen.push(at));
    clock.advance(9);
    expect(seen).toEqual([]);
    clock.advance(11);
    expect(seen).toEqual([10, 10, 20]);
    clock.advance(1_000);
    expect(seen).toEqual([10, 10, 20, 30]);
    expect(deadlines.size).toBe(0);
  });

  test("needs one timer, and none when nothing is left", () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    const set = [50, 40, 60].map((at) => deadlines.set(at, () => {}));
    expect(clock.timers).toBe(1);
    set.forEach((deadline) => deadlines.cancel(deadline));
    expect(clock.timers).toBe(0);
  });

  test("cancel() twice, and of one that has passed, does nothing", () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    const first = deadlines.set(1, () => {});
    const second = deadlines.set(5, () => {});
    clock.advance(2);
    deadlines.cancel(first);
    deadlines.cancel(second);
    deadlines.cancel(second);
    expect(deadlines.size).toBe(0);
  });

  test("what one callback sets or cancels counts", () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    const seen: string[] = [];
    const later = deadlines.set(9, () => seen.push("later"));
    deadlines.set(5, () => {
      deadlines.cancel(later);
      deadlines.set(7, () => seen.push("set within"));
    });
    clock.advance(20);
    expect(seen).toEqual(["set within"]);
  });

  test("a callback may take back what is due at the same time", () => {
    const clock = new FakeClock();
    const deadlines = new Deadlines(clock);
    const seen: string[] = [];
    const late = deadlines.set(6, () => seen.push("second"));
    deadlines.set(5, () => {
      seen.push("first");
      deadlines.cancel(late);
    });
    clock.advance(10);
    expect(seen).toEqual(["first"]);
  });

  test("expires exactly what was not taken back, never early (against a model)", () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant("set" as const), inMs: fc.nat(50) }),
      fc.record({ kind: fc.constant("cancel" as const), index: fc.nat(30) }),
      fc.record({ kind: fc.constant("advance" as const), ms: fc.nat(20) }),
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clock = new FakeClock();
      const deadlines = new Deadlines(clock);
      const all: { at: number; cancelled: boolean; expiredAt?: number; cancel: () => void }[] = [];
      for (const action of steps) {
        if (action.kind === "set") {
          const at = clock.monotonic() + action.inMs;
          const deadline = deadlines.set(at, () => {
            entry.expiredAt = clock.monotonic();
          });
          const entry: (typeof all)[number] = {
            at,
            cancelled: false,
            cancel: () => deadlines.cancel(deadline),
          };
          all.push(entry);
        } else if (action.kind === "cancel") {
          const entry = all[action.index];
          if (entry && entry.expiredAt === undefined) {
            entry.cancelled = true;
            entry.cancel();
          }
        } else clock.advance(action.ms);
      }
      clock.advance(100);
      for (const { at, cancelled, expiredAt } of all) {
        expect(expiredAt).toBe(cancelled ? undefined : at);
      }
    }));
  });
});
