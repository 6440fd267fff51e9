/** Isolates that have had their share, and a pool that stops: teardowns, and nothing lost. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { type Folder, makeFolder } from "../support/folders.ts";
import { makePool, order, request, withPool } from "../support/pools.ts";
import { timed, until } from "../support/waiting.ts";

/** A task that counts, and a log of the isolates' lives. */
function lifeFolder(teardown = ""): Promise<Folder> {
  return makeFolder({
    "t.ts": `import { setup, task } from "coxswain";
      import { appendFileSync } from "node:fs";
      import { threadId } from "node:worker_threads";
      const tell = (what) => appendFileSync(import.meta.dirname + "/life", what + "\\n");
      const settings = setup(() => { tell("up"); return { counter: 0 }; }, {
        teardown: async (made) => { ${teardown}; tell("down after " + made.counter); },
      });
      export const count = task("count", () => ++settings.counter);
      export const slow = task("slow", async () => {
        await new Promise((resolve) => setTimeout(resolve, 100));
        return ++settings.counter;
      });
      export const spin = task("spin", () => { while (true); });`,
    "life": "",
  });
}

const life = (folder: Folder) => readFileSync(folder.file("life"), "utf8").trim().split("\n");

describe("recycling", () => {
  test("replaces an isolate after its share of attempts, having torn it down", async () => {
    await using folder = await lifeFolder();
    await withPool({ taskPaths: [folder.path], maxTasksPerIsolate: 3 }, async (pool) => {
      const counts: unknown[] = [];
      for (let call = 0; call < 9; call++) {
        const end = await pool.run(request("count", []));
        counts.push(end.kind === "returned" ? end.resultJson : end.kind);
      }
      expect(counts.join("")).toBe("123123123");
      expect(pool.stats).toMatchObject({ recycled: 3, killed: 0, died: 0 });
      await until(
        "three are torn down",
        () => life(folder).filter((line) => line === "down after 3").length === 3,
      );
    });
  });

  test("finishes what still runs in it", async () => {
    await using folder = await lifeFolder();
    const options = { taskPaths: [folder.path], maxTasksPerIsolate: 4, slots: 4 };
    await withPool(options, async (pool) => {
      const ends = await Promise.all(
        Array.from({ length: 20 }, () => pool.run(request("slow", []))),
      );
      expect(ends.every(({ kind }) => kind === "returned")).toBe(true);
      expect(pool.stats.recycled).toBe(5);
    });
  });

  test("works for processes too", async () => {
    await withPool({ maxTasksPerIsolate: 2 }, async (pool) => {
      const counts: unknown[] = [];
      for (let call = 0; call < 6; call++) {
        const end = await pool.run(order({ count: true }, { isolation: "process" }));
        counts.push(end.kind === "returned" ? end.resultJson : end.kind);
      }
      expect(counts.join("")).toBe("121212");
    });
  });

  test("a teardown that hangs is cut short", async () => {
    await using folder = await lifeFolder("await new Promise(() => {})");
    const options = { taskPaths: [folder.path], maxTasksPerIsolate: 1, teardownMs: 100 };
    await withPool(options, async (pool) => {
      for (let call = 0; call < 5; call++) {
        expect(await pool.run(request("count", []))).toMatchObject({ resultJson: "1" });
      }
    });
  });
});

describe("stopping", () => {
  test("before the start, and twice, is fine", async () => {
    const pool = makePool();
    await pool.stop();
    await pool.stop();
    expect(await pool.run(order({ return: 1 }))).toEqual({ kind: "cancelled", started: false });
  });

  test("while it starts: the start is told", async () => {
    const pool = makePool();
    const start = pool.start();
    const stop = pool.stop();
    await expect(start).rejects.toThrow("The pool was stopped before it was ready");
    await stop;
  });

  test("finishes what runs, gives back what waits, takes nothing more, tears down", async () => {
    await using folder = await lifeFolder();
    const pool = makePool({ taskPaths: [folder.path], spares: 0 });
    await pool.start();
    const runs = pool.run(request("slow", []));
    const waits = pool.run(request("slow", []));
    const stop = pool.stop();
    expect(await waits).toEqual({ kind: "cancelled", started: false });
    expect(await pool.run(request("slow", []))).toEqual({ kind: "cancelled", started: false });
    expect(await runs).toMatchObject({ kind: "returned", resultJson: "1" });
    await stop;
    expect(life(folder)).toEqual(["up", "down after 1"]);
  });

  test("at the abort what still runs is cancelled, then killed", async () => {
    const pool = makePool({ slots: 2, cancelGraceMs: 100 });
    await pool.start();
    const listens = pool.run(order({ untilAborted: true }));
    const deaf = pool.run(order({ deaf: true }));
    const abort = new AbortController();
    const stop = pool.stop(abort.signal);
    abort.abort();
    expect(await listens).toMatchObject({ kind: "returned", resultJson: '"Stopping"' });
    expect(await deaf).toEqual({ kind: "cancelled", started: true });
    await stop;
  });

  test("a later stop() may bring its own abort", async () => {
    const pool = makePool({ cancelGraceMs: 50 });
    await pool.start();
    const spins = pool.run(order({ spin: true }));
    const stop = pool.stop();
    await pool.stop(AbortSignal.abort());
    await stop;
    expect(await spins).toEqual({ kind: "cancelled", started: true });
  });

  test("does not wait for threads that native code blocks", async () => {
    const pool = makePool();
    await pool.start();
    expect(await pool.run(order({ block: 4_000 }, { timeoutMs: 20 }))).toMatchObject({
      kind: "timed_out",
    });
    const [, tookMs] = await timed(() => pool.stop());
    expect(tookMs).toBeLessThan(3_000);
  });

  test("leaves no process behind", async () => {
    const pool = makePool({ isolates: 2 });
    await pool.start();
    await Promise.all([1, 2].map(() => pool.run(order({ sleep: 10 }, { isolation: "process" }))));
    await pool.stop();
    const children = Bun.spawnSync(["pgrep", "-P", String(process.pid), "-f", "isolate-process"]);
    expect(children.stdout.toString()).toBe("");
  });
});
