import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { figuresOf, histogramOf, percentageOf, quantile } from "../../src/bench/figures.ts";
import { runLoad } from "../../src/bench/load.ts";
import { progressText, summary } from "../../src/cli/bench_command.ts";

const durations = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1 });

describe("quantile()", () => {
  test("is one of the durations, which so large a share does not exceed", () => {
    fc.assert(
      fc.property(durations, fc.double({ min: 0.001, max: 1, noNaN: true }), (all, share) => {
        const sorted = Float64Array.from(all).sort();
        const value = quantile(sorted, share);
        expect(sorted).toContain(value);
        const within = sorted.filter((one) => one <= value).length;
        expect(within).toBeGreaterThanOrEqual(Math.ceil(all.length * share));
        const below = sorted.filter((one) => one < value).length;
        expect(below).toBeLessThan(Math.ceil(all.length * share));
      }),
    );
  });
});

describe("histogramOf()", () => {
  test("counts every duration once, in buckets that grow up to the longest", () => {
    fc.assert(fc.property(durations, (all) => {
      const sorted = Float64Array.from(all).sort();
      const buckets = histogramOf(sorted);
      expect(buckets.reduce((sum, { count }) => sum + count, 0)).toBe(all.length);
      const bounds = buckets.map(({ upToMs }) => upToMs);
      expect(bounds).toEqual(bounds.toSorted((a, b) => a - b));
      for (const [i, { count, upToMs }] of buckets.entries()) {
        const from = bounds[i - 1] ?? -Infinity;
        expect(sorted.filter((one) => one > from && one <= upToMs).length).toBe(count);
      }
    }));
  });

  test("of nothing is nothing", () => {
    expect(histogramOf(new Float64Array())).toEqual([]);
  });
});

test("percentageOf() says 100.0% of a whole alone", () => {
  expect(percentageOf({ requests: 3, succeeded: 3 })).toBe("100.0%");
  expect(percentageOf({ requests: 100_000, succeeded: 99_999 })).toBe("99.9%");
  expect(percentageOf({ requests: 0, succeeded: 0 })).toBe("0.0%");
});

test("runLoad() keeps so many in flight, counts failures by type, and ends early when told", async () => {
  let inFlight = 0;
  let most = 0;
  let made = 0;
  const stop = new AbortController();
  const figures = await runLoad({
    requests: 100,
    concurrency: 7,
    signal: stop.signal,
    request: async () => {
      most = Math.max(most, ++inFlight);
      const number = ++made;
      await Promise.resolve();
      inFlight--;
      if (number === 60) stop.abort();
      return number % 3 === 0 ? { kind: "failed", type: "500" } : { kind: "succeeded" };
    },
  });
  expect(most).toBe(7);
  expect(figures.requests).toBe(made);
  expect(made).toBeLessThan(70);
  expect(figures.errors).toEqual([{ type: "500", count: Math.floor(made / 3) }]);
});

describe("what is told", () => {
  test("names the share as it is read by scripts", () => {
    const text = summary(figuresOf([1, 2, 3], new Map([["timeout", 1]]), 1_000));
    expect(text).toStartWith("75.0% request success!\n");
    expect(text).toContain("3.0 a second");
    expect(text).toContain("p50 2.00 ms");
    expect(text).toContain("1  timeout");
    expect(summary(figuresOf([], new Map(), 0))).toStartWith("0.0% request success!\n");
  });

  test("fits any terminal", () => {
    for (let columns = 1; columns < 120; columns++) {
      expect(progressText(512, 511, 1_000, columns).length).toBeLessThan(Math.max(columns, 2));
    }
    expect(progressText(1_000, 1_000, 1_000, 80)).toBe(`[${"#".repeat(40)}] 1000/1000 100.0% ok`);
  });
});
