import { describe, expect, test } from "bun:test";
import { readJobOptions } from "../../src/jobs/job_options.ts";

const NOW = Date.parse("2030-01-01T00:00:00Z");
const read = (given: Record<string, unknown>) =>
  readJobOptions(new Map(Object.entries(given)), NOW);

describe("readJobOptions()", () => {
  test("reads texts of a query, and values of JSON alike", () => {
    const value = {
      etaAt: NOW + 5_000,
      expiresAt: NOW + 60_000,
      priority: 7,
      retryLimit: 2,
      timeoutMs: 1_500,
      queue: "q",
      uniqueKey: "k",
    };
    const given = { delay: "5s", expires: "1m", timeout: "1.5s", queue: "q", unique: "k" };
    expect(read({ ...given, priority: "7", retries: "2" })).toEqual({ value });
    expect(read({ ...given, priority: 7, retries: 2 })).toEqual({ value });
    expect(read({})).toEqual({ value: {} });
  });

  test("reads instants with their offset", () => {
    expect(read({ eta: "2030-01-01T02:00:00+01:00", expires: "2030-01-01T03:00Z" })).toEqual({
      value: { etaAt: NOW + 3_600_000, expiresAt: NOW + 3 * 3_600_000 },
    });
  });

  test.each([
    [{ delay: "soon" }, "expected a duration"],
    [{ delay: "0s" }, "expected a duration"],
    [{ eta: "tomorrow" }, "expected an instant"],
    [{ eta: "2030-01-01T00:00:00" }, "with its offset"],
    [{ eta: "9999-01-01T00:00:00Z" }, "at most ten years"],
    [{ eta: "2030-13-41T00:00:00Z" }, "expected an instant"],
    [{ expires: 5 }, "expected a duration such as"],
    [{ delay: "2m", expires: "1m" }, "after the job may start"],
    [{ expires: "2029-01-01T00:00:00Z" }, "after the job may start"],
    [{ delay: "1m", eta: "2030-01-01T02:00:00Z" }, "exclude each other"],
    [{ priority: 11 }, "from 0 to 10"],
    [{ retries: -1 }, "from 0 to 1000"],
    [{ retries: "1.5" }, "from 0 to 1000"],
    [{ queue: "cox.recorder" }, "name of a task queue"],
    [{ unique: "" }, "1 to 255"],
    [{ nonsense: 1 }, 'Unknown option "nonsense": there are delay, eta'],
  ])("refuses %j", (given, problem) => {
    expect(read(given)).toEqual({ problem: expect.stringContaining(problem) });
  });
});
