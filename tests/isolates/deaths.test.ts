/** Isolates that end by themselves, or have to: what that costs, and whom. */
import { describe, expect, test } from "bun:test";
import { makeFolder } from "../support/folders.ts";
import { order, request, withPool } from "../support/pools.ts";
import { until } from "../support/waiting.ts";

describe("an isolate that ends by itself", () => {
  test("costs its attempt and nothing else", async () => {
    await withPool({ isolates: 2 }, async (pool) => {
      await until("both are ready", () => pool.freeSlots === 2);
      const neighbour = pool.run(order({ sleep: 200 }));
      expect(await pool.run(order({ exit: 3 }))).toEqual({
        kind: "isolate_died",
        reason: "it exited with code 3",
        started: true,
      });
      expect(await neighbour).toMatchObject({ kind: "returned" });
      expect(await pool.run(order({ return: 1 }))).toMatchObject({ kind: "returned" });
      expect(pool.stats).toMatchObject({ died: 1, killed: 0 });
    });
  });

  test("a process that exits, or is killed, is told", async () => {
    await withPool({}, async (pool) => {
      expect(await pool.run(order({ exit: 4 }, { isolation: "process" }))).toEqual({
        kind: "isolate_died",
        reason: "its process exited with code 4",
        started: true,
      });
      expect(await pool.run(order({ kill: true }, { isolation: "process" }))).toEqual({
        kind: "isolate_died",
        reason: "its process was ended by SIGKILL",
        started: true,
      });
      expect(await pool.run(order({ return: 1 }, { isolation: "process" }))).toMatchObject({
        kind: "returned",
      });
    });
  });

  test("again and again never costs a slot", async () => {
    await withPool({}, async (pool) => {
      for (let count = 0; count < 20; count++) {
        expect(await pool.run(order({ exit: 0 }))).toMatchObject({ kind: "isolate_died" });
      }
      await until("its slot is whole", () => pool.freeSlots === 1);
    });
  });

  test("idle, again and again, is replaced with growing pauses", async () => {
    await using folder = await makeFolder({
      "t.ts": `import { task } from "coxswain";
        setTimeout(() => process.exit(1), 20);
        export const t = task("t", () => 1);`,
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      await until("it has died twice", () => pool.stats.died >= 2);
      const before = pool.stats.died;
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      // At once each time it would be some 40.
      expect(pool.stats.died - before).toBeLessThan(20);
    });
  });

  test("while a set-up fails later on, is tried again with growing pauses", async () => {
    await using folder = await makeFolder({
      "t.ts": `import { task, setup } from "coxswain";
        import { appendFileSync, existsSync } from "node:fs";
        const here = import.meta.dirname;
        setup(() => {
          appendFileSync(here + "/tries", "x");
          if (existsSync(here + "/broken")) throw new Error("no database");
        });
        export const t = task("t", () => 1);
        export const e = task("exit", () => process.exit(1));`,
    });
    await withPool({ taskPaths: [folder.path], spares: 0 }, async (pool) => {
      await Bun.write(folder.file("broken"), "");
      expect(await pool.run(request("exit", []))).toMatchObject({ kind: "isolate_died" });
      const end = pool.run(request("t", []));
      await new Promise((resolve) => setTimeout(resolve, 500));
      const tries = (await Bun.file(folder.file("tries")).text()).length;
      expect(tries).toBeGreaterThan(2);
      expect(tries).toBeLessThan(15);
      await Bun.file(folder.file("broken")).delete();
      expect(await end).toMatchObject({ kind: "returned", resultJson: "1" });
    });
  });
});

describe("errors that nobody catches", () => {
  /** In a process of its own: `bun test` takes them away from Web Workers' handlers. */
  async function scenario(): Promise<Record<string, unknown>> {
    const script = new URL("../support/uncaught_scenario.ts", import.meta.url).pathname;
    const child = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "inherit" });
    const text = await new Response(child.stdout).text();
    expect(await child.exited).toBe(0);
    return JSON.parse(text);
  }

  test("cost the attempt that they belong to, with their type and message", async () => {
    for (const seen of Object.values(await scenario())) {
      expect(seen).toMatchObject({
        inTimer: { kind: "threw", error: { type: "TimerError", message: "boo" } },
        // Whose a microtask's error is, the runtime does not tell.
        inMicrotask: {
          kind: "isolate_died",
          reason: "an error that nobody caught: MicrotaskError: boo",
          started: true,
        },
        neighbourOfTimer: { kind: "returned", resultJson: "100" },
        leftBehind: { kind: "returned", resultJson: '"left"' },
        afterLeftBehind: { kind: "returned", resultJson: "200" },
        countAfterLeftBehind: { kind: "returned", resultJson: "1" },
        rejection: { kind: "returned", resultJson: '"went on"' },
      });
    }
  }, 30_000);

  test("are logged where no attempt is told", async () => {
    for (const seen of Object.values(await scenario())) {
      expect(seen).toMatchObject({
        errors: [
          expect.stringContaining("A task that had ended left an error that nobody caught"),
          expect.stringContaining("A rejected promise was not handled"),
        ],
      });
    }
  }, 30_000);
});
