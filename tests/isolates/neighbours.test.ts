/** Several slots in an isolate: what becomes of the neighbours of one that has to be killed. */
import { describe, expect, test } from "bun:test";
import { makeFolder } from "../support/folders.ts";
import { order, request, withPool } from "../support/pools.ts";
import { timed, until } from "../support/waiting.ts";

describe.each(["worker", "process"] as const)("neighbours in a %s", (isolation) => {
  test("run at the same time", async () => {
    await withPool({ slots: 50 }, async (pool) => {
      const [ends, tookMs] = await timed(() =>
        Promise.all(
          Array.from({ length: 50 }, () => pool.run(order({ sleep: 200 }, { isolation }))),
        )
      );
      expect(ends.every(({ kind }) => kind === "returned")).toBe(true);
      expect(tookMs).toBeLessThan(2_000);
    });
  });

  test("of one that is killed run again once, marked, with their results", async () => {
    await withPool({ slots: 4 }, async (pool) => {
      const neighbours = [1, 2, 3].map(() => pool.run(order({ sleep: 300 }, { isolation })));
      const killed = pool.run(order({ spin: true }, { isolation, timeoutMs: 100 }));
      expect(await killed).toEqual({ kind: "timed_out", limitMs: 100 });
      expect(pool.stats.running).toBe(3);
      for (const end of await Promise.all(neighbours)) {
        expect(end).toMatchObject({ kind: "returned", resultJson: "300" });
      }
      expect(pool.stats).toMatchObject({ killed: 1, running: 0, waiting: 0 });
    });
  });

  test("keep their original deadlines", async () => {
    await withPool({ slots: 2 }, async (pool) => {
      const neighbour = timed(() => pool.run(order({ hang: true }, { isolation, timeoutMs: 400 })));
      await pool.run(order({ spin: true }, { isolation, timeoutMs: 200 }));
      const [end, tookMs] = await neighbour;
      expect(end).toEqual({ kind: "timed_out", limitMs: 400 });
      expect(tookMs).toBeGreaterThanOrEqual(399);
      expect(tookMs).toBeLessThan(400 + 250);
    });
  });

  test("of one that dies are not to blame: only the guilty one ends with its isolate", async () => {
    await withPool({ slots: 3 }, async (pool) => {
      const neighbours = [1, 2].map(() => pool.run(order({ sleep: 200 }, { isolation })));
      expect(await pool.run(order({ exit: 5 }, { isolation }))).toMatchObject({
        kind: "isolate_died",
        reason: expect.stringContaining("exited with code 5"),
        started: true,
      });
      for (const end of await Promise.all(neighbours)) {
        expect(end).toMatchObject({ kind: "returned", resultJson: "200" });
      }
    });
  });

  test("that must not run twice end with the isolate", async () => {
    await withPool({ slots: 2 }, async (pool) => {
      const once = pool.run(order({ sleep: 60_000 }, { isolation, once: true }));
      await pool.run(order({ spin: true }, { isolation, timeoutMs: 100 }));
      expect(await once).toEqual({
        kind: "isolate_died",
        reason: "it was killed at the limit of a neighbour",
        started: true,
      });
    });
  });

  test("that were cancelled do not run again", async () => {
    await withPool({ slots: 2, cancelGraceMs: 30_000 }, async (pool) => {
      await pool.run(order({ return: 1 }, { isolation }));
      const abort = new AbortController();
      const cancelled = pool.run(order({ deaf: true }, { isolation }), { signal: abort.signal });
      const killed = pool.run(order({ spin: true }, { isolation, timeoutMs: 150 }));
      abort.abort();
      expect(await killed).toMatchObject({ kind: "timed_out" });
      expect(await cancelled).toEqual({ kind: "cancelled", started: true });
    });
  });

  test("that passed their soft limit are told again", async () => {
    await withPool({ slots: 2 }, async (pool) => {
      const neighbour = pool.run(
        order({ deaf: true }, { isolation, softTimeoutMs: 50, timeoutMs: 500 }),
      );
      await pool.run(order({ spin: true }, { isolation, timeoutMs: 100 }));
      expect(await neighbour).toEqual({ kind: "timed_out", limitMs: 500 });
    });
  });
});

describe("running again", () => {
  test("is marked as redelivered, and counts as started once", async () => {
    await using folder = await makeFolder({
      "t.ts": `import { context, task } from "coxswain";
        export const t = task("slow", async () => {
          const { redelivered } = context;
          await new Promise((resolve) => setTimeout(resolve, 200));
          return redelivered;
        });
        export const s = task("spin", () => { while (true); });`,
    });
    await withPool({ taskPaths: [folder.path], slots: 2 }, async (pool) => {
      let starts = 0;
      const neighbour = pool.run(request("slow", []), { onStart: () => starts++ });
      await pool.run(request("spin", [], { timeoutMs: 50 }));
      expect(await neighbour).toMatchObject({ kind: "returned", resultJson: "true" });
      expect(starts).toBe(1);
    });
  });

  test("holds its slot: the node never runs more than it may", async () => {
    await withPool({ slots: 40 }, async (pool) => {
      const neighbours = Array.from({ length: 39 }, () => pool.run(order({ sleep: 200 })));
      await pool.run(order({ spin: true }, { timeoutMs: 50 }));
      expect(pool.stats.running).toBe(39);
      await until("the other isolate serves", () => pool.freeSlots === 1);
      const late = pool.run(order({ return: 1 }));
      const later = pool.run(order({ return: 1 }));
      expect(pool.stats).toMatchObject({ running: 40, waiting: 1 });
      for (const end of await Promise.all([...neighbours, late, later])) {
        expect(end).toMatchObject({ kind: "returned" });
      }
    });
  });
});
