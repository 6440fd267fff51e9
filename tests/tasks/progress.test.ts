import { expect, test } from "bun:test";
import { readProgress } from "../../src/tasks/progress.ts";

test("readProgress() takes a fraction and a text, and clips what is long", () => {
  expect(readProgress(0, undefined)).toEqual({ fraction: 0 });
  expect(readProgress(1, "done")).toEqual({ fraction: 1, message: "done" });
  expect(readProgress(0.5, "x".repeat(2_000)).message).toHaveLength(1_024);
  expect(readProgress(0.5, `${"x".repeat(1_023)}\u{1F600}`).message?.isWellFormed()).toBe(true);
});

test("readProgress() refuses what is no fraction, or no text", () => {
  for (const fraction of [-0.1, 1.1, NaN, Infinity, "0.5", null, undefined]) {
    expect(() => readProgress(fraction, undefined)).toThrow("must be a number from 0 to 1");
  }
  expect(() => readProgress(0.5, 5)).toThrow("must be a text");
});
