import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { formatDuration, MAX_DURATION_MS, parseDuration } from "../../src/lifecycle/duration.ts";

describe("parseDuration()", () => {
  test.each([
    ["500ms", 500],
    ["3s", 3_000],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["7d", 604_800_000],
    ["1.5s", 1_500],
    ["0.1ms", 1],
    ["0s", 0],
    [" 3s ", 3_000],
  ])("reads %s", (text, expected) => {
    expect(parseDuration(text)).toBe(expected);
  });

  test.each(["", "3", "s", "-1s", "3 s", "3w", "1e3s", "1h30m", "Infinityms", ".5s"])(
    "refuses %p and says what is needed",
    (text) => {
      expect(() => parseDuration(text)).toThrow(RangeError);
      expect(() => parseDuration(text)).toThrow(/"500ms", "3s", "2m", "1h" or "7d"/);
    },
  );

  test("refuses what no timer can wait for", () => {
    expect(() => parseDuration("600h")).toThrow(/at most 2147483647ms/);
    expect(parseDuration("600h", 1_000 * 86_400_000)).toBe(25 * 86_400_000);
    expect(() => parseDuration("1001d", 1_000 * 86_400_000)).toThrow(/at most 1000d/);
  });
});

describe("formatDuration()", () => {
  test.each([[0, "0ms"], [500, "500ms"], [3_000, "3s"], [90_000, "90s"], [120_000, "2m"], [
    3_600_000,
    "1h",
  ]])("writes %p as %s", (durationMs, expected) => {
    expect(formatDuration(durationMs)).toBe(expected);
  });

  test("refuses what is no duration", () => {
    for (const bad of [-1, Number.NaN, Infinity]) {
      expect(() => formatDuration(bad)).toThrow(RangeError);
    }
  });

  test("is read back as the same number", () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: MAX_DURATION_MS }), (durationMs) => {
      expect(parseDuration(formatDuration(durationMs))).toBe(durationMs);
    }));
  });
});
