import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { DefinitionError } from "../../src/tasks/errors.ts";
import {
  describeSchedule,
  describeSpec,
  nextFiringAt,
  readCron,
  readEvery,
} from "../../src/tasks/schedule.ts";
import { makeFolder } from "../support/folders.ts";
import { makePool } from "../support/pools.ts";

const at = (iso: string) => Date.parse(iso);

describe("nextFiringAt()", () => {
  test("of an interval is its next multiple, never now, always within one interval", () => {
    fc.assert(fc.property(
      fc.integer({ min: 1_000, max: 86_400_000 }),
      fc.integer({ min: 0, max: 4e12 }),
      (everyMs, after) => {
        const next = nextFiringAt({ kind: "every", everyMs }, after) ?? NaN;
        expect(next % everyMs).toBe(0);
        expect(next).toBeGreaterThan(after);
        expect(next - after).toBeLessThanOrEqual(everyMs);
      },
    ));
  });

  test("of a cron expression is in UTC unless a time zone is named", () => {
    const after = at("2026-06-01T12:00:00Z");
    expect(nextFiringAt(readCron("0 3 * * *"), after)).toBe(at("2026-06-02T03:00:00Z"));
    expect(nextFiringAt(readCron("0 3 * * *", "Europe/Berlin"), after))
      .toBe(at("2026-06-02T01:00:00Z"));
    expect(nextFiringAt(readCron("*/10 * * * * *"), after + 1)).toBe(after + 10_000);
    expect(nextFiringAt(readCron("@daily"), after)).toBe(at("2026-06-02T00:00:00Z"));
  });

  test("of a cron expression goes over the hour that a clock skips in spring, once", () => {
    const spec = readCron("30 2 * * *", "Europe/Berlin");
    const firings: string[] = [];
    let after = at("2027-03-27T00:00:00Z");
    for (let day = 0; day < 3; day++) {
      after = nextFiringAt(spec, after) ?? NaN;
      firings.push(new Date(after).toISOString());
    }
    expect(new Set(firings).size).toBe(3);
    expect(firings[0]).toBe("2027-03-27T01:30:00.000Z");
    expect(firings[2]).toBe("2027-03-29T00:30:00.000Z");
  });
});

describe("a schedule", () => {
  test("is named by its task and rhythm unless it has a name", () => {
    const named = (name?: string) =>
      describeSchedule(readEvery("90s"), "t", [1], name === undefined ? {} : { name }, "f.ts");
    expect(named()).toEqual({
      name: "t every 90s",
      spec: { kind: "every", everyMs: 90_000 },
      task: "t",
      input: "[1]",
      file: "f.ts",
    });
    expect(named("mine").name).toBe("mine");
    expect(describeSpec(readCron("0 3 * * *", "Asia/Tokyo"))).toBe("cron 0 3 * * * Asia/Tokyo");
  });

  test("that cannot be used says why", () => {
    expect(() => readEvery("soon")).toThrow(DefinitionError);
    expect(() => readEvery("500ms")).toThrow("at least 1s apart");
    expect(() => readCron("61 * * * *")).toThrow('Cannot use the cron expression "61 * * * *"');
    expect(() => readCron("0 3 * * *", "Europe/Nowhere")).toThrow("Europe/Nowhere");
    expect(() => describeSchedule(readEvery("1s"), "", null, {}, "f.ts")).toThrow("name of a task");
    expect(() => describeSchedule(readEvery("1s"), "t", () => {}, {}, "f.ts"))
      .toThrow("what JSON carries");
    expect(() => describeSchedule(readEvery("1s"), "t", 1, { name: " " }, "f.ts"))
      .toThrow("1 to 255 characters");
  });

  test("in a task file is told by the pool, and a file that defines only schedules is used", async () => {
    await using folder = await makeFolder({
      "a.ts": `
        import { cron, every, task } from "coxswain";
        const clean = task("clean", () => 1);
        every("30s", clean, [1, 2]);
        cron("0 3 * * *", "elsewhere", { a: 1 }, { timeZone: "Europe/Berlin", name: "nightly" });
      `,
      "b.ts": `import { every } from "coxswain"; every("1m", "clean");`,
    });
    const pool = makePool({ taskPaths: [folder.path] });
    const { schedules } = await pool.start();
    await pool.stop();
    expect(schedules.map(({ name, task, input }) => [name, task, input]).toSorted()).toEqual([
      ["clean every 1m", "clean", ""],
      ["clean every 30s", "clean", "[1,2]"],
      ["nightly", "elsewhere", '{"a":1}'],
    ]);
  });

  test("of a name that is taken, or that makes no sense, stops the start and names the file", async () => {
    const problems = {
      "already defined in": `every("1m", "t"); every("1m", "t");`,
      'Cannot schedule task "t" in': `cron("nonsense", "t");`,
      "at least 1s apart": `every("1ms", "t");`,
    };
    for (const [message, code] of Object.entries(problems)) {
      await using folder = await makeFolder({
        "a.ts": `import { cron, every } from "coxswain"; void cron; void every; ${code}`,
      });
      const pool = makePool({ taskPaths: [folder.path] });
      await expect(pool.start()).rejects.toThrow(message);
      await pool.stop();
    }
  });
});
