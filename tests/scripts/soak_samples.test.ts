/** What a soak calls growth. */
import { expect, test } from "bun:test";
import { growth, type Sample } from "../../scripts/faults/soak/samples.ts";

const MIB = 2 ** 20;

/** A sample each second for ten minutes. */
function samples(rssMib: (second: number) => number, pid = 1, from = 0): readonly Sample[] {
  return Array.from({ length: 600 - from }, (_, i) => ({
    atMs: (from + i) * 1_000,
    node: "front",
    pid,
    rssBytes: rssMib(from + i) * MIB,
    handles: 20,
    threads: 7,
  }));
}

const unlevel = (list: readonly Sample[]) =>
  growth(list, 150_000).filter(({ isLevel }) => !isLevel).map(({ figure }) => figure);

test("a saw is level, and a slope is not", () => {
  expect(unlevel(samples((second) => 100 + second % 40))).toEqual([]);
  expect(unlevel(samples((second) => 100 + second / 10))).toEqual(["rssBytes"]);
  expect(unlevel(samples((second) => 200 - second / 10))).toEqual([]);
});

test("a leak shows below the saw", () => {
  expect(unlevel(samples((second) => 100 + second % 40 + second / 12))).toEqual(["rssBytes"]);
});

test("a process that has not lived all the while is not compared", () => {
  expect(growth(samples((second) => second, 2, 300), 150_000)).toEqual([]);
});
