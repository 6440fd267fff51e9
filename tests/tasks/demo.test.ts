/** The demo tasks, in real isolates. */
import { describe, expect, test } from "bun:test";
import type { AttemptEnd } from "../../src/isolates/attempt.ts";
import type { AskHandlers } from "../../src/tasks/asks.ts";
import { makePool, request, withPool } from "../support/pools.ts";
import { timed } from "../support/waiting.ts";

const DEMO = { taskPaths: [], demo: true } as const;

function resultOf(end: AttemptEnd): unknown {
  expect(end).toMatchObject({ kind: "returned" });
  return end.kind === "returned" ? JSON.parse(end.resultJson) : undefined;
}

describe("the demo tasks", () => {
  test("are on the queue demo, built in", async () => {
    const pool = makePool(DEMO);
    const { tasks } = await pool.start();
    await pool.stop();
    expect(tasks.map(({ name }) => name).toSorted()).toEqual(
      ["dead", "echo", "fail", "math.add", "publish", "sleep", "stat", "test"],
    );
    for (const task of tasks) expect(task).toMatchObject({ queue: "demo", file: "built in" });
  });

  test("test answers its input, and with a header", async () => {
    await withPool(DEMO, async (pool) => {
      const asked = request("test", ["a", 2]);
      const end = await pool.run(asked);
      expect(resultOf(end)).toEqual({
        input: ["a", 2],
        id: asked.id,
        node: "test-node",
        attempt: 1,
      });
      expect(end).toMatchObject({ headers: { "x-node": "test-node" } });
    });
  });

  test("stat counts in its isolate's settings", async () => {
    await withPool(DEMO, async (pool) => {
      for (const count of [1, 2, 3]) {
        expect(resultOf(await pool.run(request("stat", [])))).toBe(
          `I'm worker "test-node". And I serve ${count} tasks`,
        );
      }
    });
  });

  test("publish publishes on the channel test", async () => {
    const published: string[][] = [];
    const asks: AskHandlers = {
      "pubsub.publish": ({ channel }, json) => {
        published.push([channel, json]);
        return Promise.resolve(null);
      },
    };
    await withPool({ ...DEMO, asks }, async (pool) => {
      expect(resultOf(await pool.run(request("publish", [{ a: 1 }])))).toEqual({ a: 1 });
      expect(resultOf(await pool.run(request("publish", [])))).toBeNull();
      expect(published).toEqual([["test", '{"a":1}'], ["test", "null"]]);
    });
  });

  test("math.add adds, and says what it needs", async () => {
    await withPool(DEMO, async (pool) => {
      expect(resultOf(await pool.run(request("math.add", [1, 2])))).toBe(3);
      expect(await pool.run(request("math.add", ["1"]))).toMatchObject({
        kind: "threw",
        error: { type: "TypeError", message: "math.add needs two numbers, such as [1, 2]" },
      });
    });
  });

  test("sleep sleeps, many at once in one isolate, and ends at its signal", async () => {
    await withPool({ ...DEMO, slots: 1_000 }, async (pool) => {
      const [ends, tookMs] = await timed(() =>
        Promise.all(Array.from({ length: 1_000 }, () => pool.run(request("sleep", [0.2]))))
      );
      expect(ends.map(resultOf)).toEqual(Array.from({ length: 1_000 }, () => 0.2));
      expect(tookMs).toBeLessThan(3_000);
      const abort = new AbortController();
      const cancelled = pool.run(request("sleep", [60]), {
        signal: abort.signal,
        onStart: () => abort.abort(),
      });
      expect(await cancelled).toEqual({ kind: "cancelled", started: true });
      expect(pool.stats.killed).toBe(0);
    });
  });

  test("echo answers one argument as it is, several as an array, none as null", async () => {
    await withPool(DEMO, async (pool) => {
      expect(resultOf(await pool.run(request("echo", [{ a: 1 }])))).toEqual({ a: 1 });
      expect(resultOf(await pool.run(request("echo", [1, 2])))).toEqual([1, 2]);
      expect(resultOf(await pool.run(request("echo", [])))).toBeNull();
    });
  });

  test("fail fails with a type of its own", async () => {
    await withPool(DEMO, async (pool) => {
      expect(await pool.run(request("fail", ["as told"]))).toMatchObject({
        kind: "threw",
        error: { type: "ValueError", message: "as told" },
      });
    });
  });
});
