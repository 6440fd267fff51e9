/** Hard and soft limits, in real isolates. Times are asserted at five times what is promised. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { order, request, withPool } from "../support/pools.ts";
import { timed, until } from "../support/waiting.ts";

/** Promised: told, and the slot whole again, within 50 ms of the deadline. */
const PROMISED_MS = 50;

const threads = () => readdirSync("/proc/self/task").length;

describe.each(["worker", "process"] as const)("the hard limit of a %s", (isolation) => {
  test.each(
    [
      ["hang", { hang: true }],
      ["spin", { spin: true }],
      ["storm microtasks", { storm: true }],
      ["block in Atomics.wait", { wait: 60_000 }],
      ["block in native code", { block: 3_000 }],
      ["wait for a child process", { spawnSleep: 3 }],
      ["ignore its signal", { deaf: true }],
    ] as const,
  )("ends tasks that %s, and the slot is whole again", async (_what, told) => {
    await withPool({}, async (pool) => {
      const warm = order({ return: 1 }, { isolation });
      await pool.run(warm);
      await until("the spare is ready", () => pool.freeSlots === 1);
      const [end, tookMs] = await timed(() => pool.run(order(told, { isolation, timeoutMs: 100 })));
      expect(end).toEqual({ kind: "timed_out", limitMs: 100 });
      expect(tookMs).toBeGreaterThanOrEqual(99);
      expect(tookMs).toBeLessThan(100 + 5 * PROMISED_MS);
      const [next, wholeMs] = await timed(() => pool.run(warm));
      expect(next).toMatchObject({ kind: "returned" });
      expect(wholeMs).toBeLessThan(5 * PROMISED_MS);
    });
  });
});

describe("the hard limit", () => {
  test("counts from the start, not from the waiting", async () => {
    await withPool({}, async (pool) => {
      const first = pool.run(order({ sleep: 200 }));
      const second = pool.run(order({ sleep: 150 }, { timeoutMs: 300 }));
      expect(await first).toMatchObject({ kind: "returned" });
      expect(await second).toMatchObject({ kind: "returned" });
    });
  });

  test("ends the thread, too", async () => {
    await withPool({}, async (pool) => {
      await pool.run(order({ return: 1 }));
      const before = threads();
      for (let count = 0; count < 5; count++) {
        await pool.run(order({ spin: true }, { timeoutMs: 20 }));
      }
      await until("the threads are gone", () => threads() <= before + 1, 5_000);
      expect(pool.stats).toMatchObject({ killed: 5, stuck: 0, running: 0 });
    });
  });

  test("threads that native code blocks are counted until they end", async () => {
    const told: number[] = [];
    await withPool({ onStuck: (stuck) => told.push(stuck) }, async (pool) => {
      await pool.run(order({ block: 2_500 }, { timeoutMs: 50 }));
      expect(await pool.run(order({ return: 1 }))).toMatchObject({ kind: "returned" });
      await until("it is told as stuck", () => told.length > 0);
      expect(told).toEqual([1]);
      await until("it has ended", () => pool.stats.stuck === 0);
    });
  });

  test("the demo task dead ends at its own limit", async () => {
    await withPool({ demo: true }, async (pool) => {
      const { tasks } = await pool.start();
      expect(tasks.find(({ name }) => name === "dead")).toMatchObject({ timeoutMs: 3_000 });
      expect(await pool.run(request("dead", [], { timeoutMs: 50 }))).toEqual({
        kind: "timed_out",
        limitMs: 50,
      });
    });
  });

  test("many at once all end on time, and the others go on", async () => {
    await withPool({ isolates: 4 }, async (pool) => {
      await until("all are ready", () => pool.freeSlots === 4);
      const ends = await Promise.all([
        ...[1, 2, 3].map(() => timed(() => pool.run(order({ spin: true }, { timeoutMs: 200 })))),
        timed(() => pool.run(order({ sleep: 300 }))),
      ]);
      expect(ends.map(([{ kind }]) => kind)).toEqual([
        "timed_out",
        "timed_out",
        "timed_out",
        "returned",
      ]);
      for (const [, tookMs] of ends) expect(tookMs).toBeLessThan(300 + 5 * PROMISED_MS);
      await until("four slots are whole", () => pool.freeSlots === 4);
    });
  });
});

describe.each(["worker", "process"] as const)("the soft limit of a %s", (isolation) => {
  test("aborts the signal, and the task may still return", async () => {
    await withPool({}, async (pool) => {
      const end = await pool.run(
        order({ untilAborted: true }, { isolation, softTimeoutMs: 50, timeoutMs: 30_000 }),
      );
      expect(end).toMatchObject({ kind: "returned", resultJson: '"SoftTimeLimitExceeded"' });
    });
  });

  test("what rejects because of it is its own failure", async () => {
    await withPool({}, async (pool) => {
      const end = await pool.run(
        order({ sleepUnlessAborted: 60_000 }, { isolation, softTimeoutMs: 50, timeoutMs: 30_000 }),
      );
      expect(end).toMatchObject({
        kind: "threw",
        error: { type: "SoftTimeLimitExceeded", stack: expect.stringContaining("AbortError") },
      });
    });
  });

  test("who is deaf to it meets the hard limit", async () => {
    await withPool({}, async (pool) => {
      const end = await pool.run(
        order({ deaf: true }, { isolation, softTimeoutMs: 50, timeoutMs: 150 }),
      );
      expect(end).toEqual({ kind: "timed_out", limitMs: 150 });
    });
  });
});
