/** When what ended isolates leave behind is collected. */
import { expect, test } from "bun:test";
import { Leftovers } from "../../src/isolates/leftovers.ts";
import { FakeClock } from "../support/fake_clock.ts";

function watched() {
  const clock = new FakeClock();
  const seen = { soon: 0, fully: 0 };
  const leftovers = new Leftovers(clock, { soon: () => seen.soon++, fully: () => seen.fully++ });
  const end = (count: number) => {
    for (let i = 0; i < count; i++) leftovers.add();
  };
  return { clock, seen, leftovers, end };
}

test("a few ended isolates are not worth a pause", () => {
  const { clock, seen, end } = watched();
  end(15);
  clock.advance(60_000);
  expect(seen).toEqual({ soon: 0, fully: 0 });
  expect(clock.timers).toBe(0);
});

test("many are collected beside the running code, and fully once it is quiet", () => {
  const { clock, seen, end } = watched();
  for (let i = 0; i < 64; i++) {
    end(1);
    clock.advance(400);
  }
  expect(seen).toEqual({ soon: 4, fully: 0 });
  clock.advance(100);
  expect(seen).toEqual({ soon: 4, fully: 1 });
  clock.advance(60_000);
  expect(seen.fully).toBe(1);
  end(16);
  clock.advance(500);
  expect(seen.fully).toBe(2);
});

test("nothing is collected after the stop", () => {
  const { clock, seen, leftovers, end } = watched();
  end(16);
  leftovers.stop();
  clock.advance(60_000);
  expect(seen.fully).toBe(0);
});
