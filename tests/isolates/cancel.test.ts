/** Cancelling attempts, wherever they are. */
import { describe, expect, test } from "bun:test";
import type { AttemptRequest } from "../../src/isolates/attempt.ts";
import type { Pool } from "../../src/isolates/pool.ts";
import { order, withPool } from "../support/pools.ts";
import { timed, until } from "../support/waiting.ts";

/** Starts an attempt and resolves when it runs. */
async function started(pool: Pool, request: AttemptRequest) {
  const abort = new AbortController();
  const { promise, resolve } = Promise.withResolvers<void>();
  const end = pool.run(request, { signal: abort.signal, onStart: resolve });
  await promise;
  return { end, cancel: () => abort.abort() };
}

describe("cancelling", () => {
  test("before run() was called: it never runs", async () => {
    await withPool({}, async (pool) => {
      const end = await pool.run(order({ count: true }), { signal: AbortSignal.abort() });
      expect(end).toEqual({ kind: "cancelled", started: false });
      expect(await pool.run(order({ count: true }))).toMatchObject({ resultJson: "1" });
    });
  });

  test("one that waits: told at once, and it never runs", async () => {
    await withPool({}, async (pool) => {
      const first = await started(pool, order({ sleep: 100 }));
      const abort = new AbortController();
      const waiting = pool.run(order({ count: true }), { signal: abort.signal });
      expect(pool.stats).toMatchObject({ running: 1, waiting: 1 });
      abort.abort();
      expect(await waiting).toEqual({ kind: "cancelled", started: false });
      expect(pool.stats).toMatchObject({ running: 1, waiting: 0 });
      expect(await first.end).toMatchObject({ kind: "returned" });
      expect(await pool.run(order({ count: true }))).toMatchObject({ resultJson: "1" });
    });
  });

  test.each(["worker", "process"] as const)(
    "one that runs in a %s gets its signal",
    async (isolation) => {
      await withPool({ cancelGraceMs: 30_000 }, async (pool) => {
        const returns = await started(pool, order({ untilAborted: true }, { isolation }));
        returns.cancel();
        expect(await returns.end).toMatchObject({ kind: "returned", resultJson: '"Cancelled"' });

        const throws = await started(pool, order({ sleepUnlessAborted: 60_000 }, { isolation }));
        throws.cancel();
        expect(await throws.end).toEqual({ kind: "cancelled", started: true });
        expect(pool.stats.killed).toBe(0);
      });
    },
  );

  test.each(["worker", "process"] as const)(
    "one in a %s that does not listen is killed after the grace time",
    async (isolation) => {
      await withPool({ cancelGraceMs: 100 }, async (pool) => {
        for (const told of [{ spin: true }, { deaf: true }] as const) {
          const running = await started(pool, order(told, { isolation }));
          running.cancel();
          const [end, tookMs] = await timed(() => running.end);
          expect(end).toEqual({ kind: "cancelled", started: true });
          expect(tookMs).toBeLessThan(100 + 250);
        }
        expect(pool.stats.killed).toBe(2);
        expect(await pool.run(order({ return: 1 }, { isolation }))).toMatchObject({
          kind: "returned",
        });
      });
    },
  );

  test("the hard limit still counts within the grace time", async () => {
    await withPool({ cancelGraceMs: 30_000 }, async (pool) => {
      const running = await started(pool, order({ spin: true }, { timeoutMs: 100 }));
      running.cancel();
      expect(await running.end).toEqual({ kind: "timed_out", limitMs: 100 });
    });
  });

  test("one that waits for an isolate of its own is told at once", async () => {
    await withPool({}, async (pool) => {
      const abort = new AbortController();
      const end = pool.run(order({ return: 1 }, { alone: true }), { signal: abort.signal });
      abort.abort();
      expect(await end).toEqual({ kind: "cancelled", started: false });
      await until("its slot is free", () => pool.freeSlots === 1);
    });
  });

  test("after the end does nothing", async () => {
    await withPool({}, async (pool) => {
      const abort = new AbortController();
      await pool.run(order({ return: 1 }), { signal: abort.signal });
      abort.abort();
      expect(await pool.run(order({ return: 2 }))).toMatchObject({ resultJson: "2" });
      expect(pool.stats.killed).toBe(0);
    });
  });
});
