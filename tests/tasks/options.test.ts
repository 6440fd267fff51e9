import { describe, expect, test } from "bun:test";
import { DEFAULT_QUEUE } from "../../src/broker/topology.ts";
import { DEFAULT_TASK_QUEUE, describeTask, type TaskOptions } from "../../src/tasks/options.ts";

describe("describeTask()", () => {
  test("has defaults for everything", () => {
    expect(describeTask("a", {}, "/t.ts")).toEqual({
      name: "a",
      file: "/t.ts",
      queue: "default",
      timeoutMs: 300_000,
      isolation: "worker",
    });
  });

  test("the default queue is the broker's", () => {
    expect(DEFAULT_TASK_QUEUE).toBe(DEFAULT_QUEUE);
  });

  test("reads durations and the retry policy", () => {
    const options: TaskOptions = {
      queue: "images",
      timeout: "30s",
      softTimeout: "25s",
      isolation: "process",
      retry: { limit: 5, backoff: "fixed", base: "2s" },
    };
    expect(describeTask("a", options, "/t.ts")).toEqual({
      name: "a",
      file: "/t.ts",
      queue: "images",
      timeoutMs: 30_000,
      softTimeoutMs: 25_000,
      isolation: "process",
      retry: { limit: 5, backoff: "fixed", baseMs: 2_000, capMs: 300_000 },
    });
  });

  test("the longest pause is never shorter than the first", () => {
    const { retry } = describeTask("a", { retry: { base: "10m", cap: "1s" } }, "/t.ts");
    expect(retry).toEqual({ limit: 3, backoff: "exponential", baseMs: 600_000, capMs: 600_000 });
  });

  test.each<[string, unknown, string]>([
    ["", {}, "its name must not be empty"],
    [" ", {}, "its name must not be empty"],
    ["a\nb", {}, "its name must not contain control characters"],
    ["\ud800", {}, "its name must be well-formed Unicode"],
    ["ä".repeat(128), {}, "its name must be at most 255 bytes, got 256"],
    ["a", { queue: "" }, "its queue's name must not be empty"],
    ["a", { timeout: "soon" }, 'timeout: Cannot read duration "soon"'],
    ["a", { timeout: 30 }, 'timeout: Cannot read duration "30"'],
    ["a", { timeout: "0s" }, "timeout must be at least 1ms"],
    ["a", { timeout: "2s", softTimeout: "2s" }, "softTimeout must be shorter than timeout (2s)"],
    ["a", { isolation: "thread" }, 'isolation must be "worker" or "process", got "thread"'],
    ["a", { retry: { limit: -1 } }, "retry.limit must be a whole number from 0 to 1000, got -1"],
    ["a", { retry: { limit: 1.5 } }, "got 1.5"],
    ["a", { retry: { backoff: "linear" } }, 'retry.backoff must be "exponential" or "fixed"'],
    ["a", { retry: { base: "x" } }, "retry.base: Cannot read duration"],
  ])("refuses %p with %p, naming the task, the file and what is needed", (name, options, why) => {
    const define = () => describeTask(name, options as TaskOptions, "/t.ts");
    expect(define).toThrow(why);
    expect(define).toThrow(`Cannot define task ${JSON.stringify(name)} in /t.ts: `);
  });
});
