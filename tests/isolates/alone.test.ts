/** Attempts that run in a process of their own, and the tasks that ask for processes. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import type { AttemptEnd } from "../../src/isolates/attempt.ts";
import { makeFolder } from "../support/folders.ts";
import { order, request, withPool } from "../support/pools.ts";
import { until } from "../support/waiting.ts";

function pidOf(end: AttemptEnd): number {
  expect(end).toMatchObject({ kind: "returned" });
  const result: unknown = end.kind === "returned" ? JSON.parse(end.resultJson) : undefined;
  return Number(Reflect.get(Object(result), "pid"));
}

const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

describe("an attempt that runs alone", () => {
  test("gets a process for itself, which ends after it", async () => {
    await withPool({}, async (pool) => {
      const first = pidOf(await pool.run(order({ whereAmI: true }, { alone: true })));
      const second = pidOf(await pool.run(order({ whereAmI: true }, { alone: true })));
      expect(first).not.toBe(process.pid);
      expect(second).not.toBe(first);
      await until("both are gone", () => !isRunning(first) && !isRunning(second));
    });
  });

  test("has its limits", async () => {
    await withPool({}, async (pool) => {
      expect(await pool.run(order({ block: 60_000 }, { alone: true, timeoutMs: 100 }))).toEqual({
        kind: "timed_out",
        limitMs: 100,
      });
    });
  });

  test("is the guilty one when its process dies", async () => {
    await withPool({ slots: 2 }, async (pool) => {
      expect(await pool.run(order({ kill: true }, { alone: true }))).toEqual({
        kind: "isolate_died",
        reason: "its process was ended by SIGKILL",
        started: true,
      });
    });
  });

  test("is to blame for nothing when its process does not get ready", async () => {
    await using folder = await makeFolder({
      "t.ts": `import { setup, task } from "coxswain";
        import { isMainThread } from "node:worker_threads";
        setup(() => { if (isMainThread) throw new Error("no database"); });
        export const t = task("t", () => 1);`,
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      const end = await pool.run(request("t", [], { alone: true }));
      expect(end).toMatchObject({
        kind: "isolate_died",
        started: false,
        reason: expect.stringContaining("no database"),
      });
      await until("its slot is free", () => pool.freeSlots === 1);
    });
  }, 20_000);

  test("takes a slot of the node, in its turn", async () => {
    await withPool({}, async (pool) => {
      const order1 = pool.run(order({ sleep: 100 }));
      const order2 = pool.run(order({ return: 2 }, { alone: true }));
      const order3 = pool.run(order({ return: 3 }));
      expect(pool.stats).toMatchObject({ running: 1, waiting: 2 });
      const finished: string[] = [];
      await Promise.all([order1, order2, order3].map(async (end, index) => {
        await end;
        finished.push(String(index + 1));
      }));
      expect(finished.join("")).toBe("123");
    });
  });
});

describe("tasks that run in processes", () => {
  test("find warm ones after the first, of the worker's own number at most", async () => {
    await withPool({ isolates: 2 }, async (pool) => {
      const where = () => pool.run(order({ whereAmI: true }, { isolation: "process" }));
      const first = pidOf(await where());
      expect(pidOf(await where())).toBe(first);
      const pids = new Set<number>();
      for (let round = 0; round < 5; round++) {
        const ends = await Promise.all([
          pool.run(order({ sleep: 20 }, { isolation: "process" })),
          where(),
          where(),
          where(),
        ]);
        ends.slice(1).forEach((end) => pids.add(pidOf(end)));
      }
      expect(pids.size).toBeLessThanOrEqual(2);
      expect(pool.stats.isolates).toBeLessThanOrEqual(4);
    });
  });

  test("share the node's slots with the others", async () => {
    await withPool({ isolates: 2 }, async (pool) => {
      await until("both are ready", () => pool.freeSlots === 2);
      const all = [
        pool.run(order({ sleep: 100 }, { isolation: "process" })),
        pool.run(order({ sleep: 100 })),
        pool.run(order({ sleep: 100 })),
        pool.run(order({ sleep: 100 }, { isolation: "process" })),
      ];
      await until("two run", () => pool.stats.running === 2);
      expect(pool.stats.waiting).toBe(2);
      for (const end of await Promise.all(all)) expect(end).toMatchObject({ kind: "returned" });
    });
  });

  test("do not hold up those that run in workers", async () => {
    await using folder = await makeFolder({
      "t.ts": `import { setup, task } from "coxswain";
        import { isMainThread } from "node:worker_threads";
        setup(async () => { if (isMainThread) await new Promise(() => {}); });
        export const w = task("w", () => 1);
        export const p = task("p", { isolation: "process" }, () => 1);`,
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      const abort = new AbortController();
      const stuck = pool.run(request("p", [], { isolation: "process" }), { signal: abort.signal });
      expect(await pool.run(request("w", []))).toMatchObject({ kind: "returned" });
      abort.abort();
      expect(await stuck).toEqual({ kind: "cancelled", started: false });
    });
  });

  test("take with them what they started when they are killed", async () => {
    await using folder = await makeFolder({
      "t.ts": `import { task } from "coxswain";
        import { spawn } from "node:child_process";
        import { writeFileSync } from "node:fs";
        export const t = task("t", { isolation: "process" }, () => {
          const child = spawn("sleep", ["60"]);
          writeFileSync(import.meta.dirname + "/pid", String(child.pid));
          while (true);
        });`,
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      const end = await pool.run(request("t", [], { isolation: "process", timeoutMs: 500 }));
      expect(end).toMatchObject({ kind: "timed_out" });
      const pid = Number(await Bun.file(folder.file("pid")).text());
      expect(pid).toBeGreaterThan(0);
      await until("the child is gone", () => !isRunning(pid));
    });
  });

  test("are not ended by a signal that somebody sends to all", async () => {
    await withPool({}, async (pool) => {
      const where = await pool.run(order({ whereAmI: true }, { isolation: "process" }));
      const running = pool.run(order({ sleep: 200 }, { isolation: "process" }));
      for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
        process.kill(pidOf(where), signal);
      }
      expect(await running).toMatchObject({ kind: "returned" });
    });
  });

  test("end when the program is killed, even those that spin", async () => {
    const script = new URL("../support/orphan_scenario.ts", import.meta.url).pathname;
    const program = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "inherit" });
    const pids: number[] = [];
    for await (const chunk of program.stdout) {
      pids.push(...new TextDecoder().decode(chunk).trim().split(/\s+/).map(Number));
      if (pids.length >= 2) break;
    }
    expect(pids).toHaveLength(2);
    expect(pids.every(isAlive)).toBe(true);
    program.kill("SIGKILL");
    await program.exited;
    await until("both are gone", () => pids.every((pid) => !isRunning(pid)));
  });
});

/** One that has ended may wait for its new parent to notice. */
function isRunning(pid: number): boolean {
  if (!isAlive(pid)) return false;
  const state = /\) (\S)/.exec(Bun.spawnSync(["cat", `/proc/${pid}/stat`]).stdout.toString())?.[1];
  return state !== undefined && state !== "Z" && state !== "X";
}
