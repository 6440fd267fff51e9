/** `heartbeat` in task files, in real isolates: what they define, and what running tasks may ask. */
import { describe, expect, test } from "bun:test";
import { PoolStartError } from "../../src/isolates/pool.ts";
import type { AskHandlers } from "../../src/tasks/asks.ts";
import { makeFolder } from "../support/folders.ts";
import { makePool, request, withPool } from "../support/pools.ts";

const IMPORT = `import { context, heartbeat, setup, task } from "coxswain";\n`;

async function startFailure(source: string): Promise<string> {
  await using folder = await makeFolder({ "tasks.ts": IMPORT + source });
  const pool = makePool({ taskPaths: [folder.path] });
  try {
    await pool.start();
  } catch (error) {
    if (error instanceof PoolStartError) return error.message;
    throw error;
  } finally {
    await pool.stop();
  }
  throw new Error("The pool started");
}

describe("heartbeat.register() at the top of a task file", () => {
  test("defines a callback that the node can run, and no task", async () => {
    await using folder = await makeFolder({
      "a.ts": IMPORT + `
        heartbeat.register(() => context.task + context.node, "5s");
        const gone = heartbeat.register(() => "gone", "5s");
        heartbeat.unregister(gone);
        heartbeat.register(() => { throw new Error("no"); }, 1_500, { timeout: "2s" });`,
      "b.ts": `${IMPORT}task("one", () => 1);`,
    });
    const pool = makePool({ taskPaths: [folder.path] });
    const { tasks, periodic } = await pool.start();
    expect(tasks.map(({ name }) => name)).toEqual(["one"]);
    const [file, name] = [folder.file("a.ts"), "heartbeat callback-1"];
    expect(periodic).toEqual([
      { id: "callback-1", name, file, intervalMs: 5_000, timeoutMs: 60_000 },
      {
        id: "callback-3",
        name: "heartbeat callback-3",
        file,
        intervalMs: 1_500,
        timeoutMs: 2_000,
      },
    ]);
    expect(await pool.run(request(name, []))).toMatchObject({
      kind: "returned",
      resultJson: `"${name}test-node"`,
    });
    expect(await pool.run(request("heartbeat callback-2", []))).toEqual({ kind: "unknown_task" });
    expect(await pool.run(request("heartbeat callback-3", []))).toMatchObject({
      kind: "threw",
      error: { message: "no" },
    });
    await pool.stop();
  });

  test.each([
    ["heartbeat.register(5, '5s')", "its first argument must be a function"],
    ["heartbeat.register(() => 1, '5')", "its interval: Cannot read duration"],
    ["heartbeat.register(() => 1, '500ms')", "its interval must be at least 1s, one beat"],
    ["heartbeat.register(() => 1, NaN)", "its interval must be milliseconds"],
    ["heartbeat.register(() => 1, '1s', { timeout: '0s' })", "its timeout must be at least 1ms"],
    ["heartbeat.alive()", "no task is running here"],
    ["heartbeat.unregister('callback-9')", "no task is running here"],
  ])("%s: %s", async (source, message) => {
    expect(await startFailure(`await ${source};`)).toContain(message);
  });

  test("is refused later: in a set-up, in a task", async () => {
    const late = "Cannot define a heartbeat callback in";
    expect(await startFailure(`setup(() => { heartbeat.register(() => 1, "1s"); });`))
      .toContain(late);
    await using folder = await makeFolder({
      "a.ts": `${IMPORT}task("late", () => heartbeat.register(() => 1, "1s"));`,
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      expect(await pool.run(request("late", []))).toMatchObject({
        kind: "threw",
        error: { type: "DefinitionError", message: expect.stringContaining(late) },
      });
    });
  });
});

test("a running task asks its node for the count, for a beacon and for an end", async () => {
  await using folder = await makeFolder({
    "a.ts": IMPORT + `task("ask", async (id: string) => {
      await heartbeat.alive();
      return [await heartbeat.count, await heartbeat.unregister(id)];
    });`,
  });
  const told: string[] = [];
  const asks: AskHandlers = {
    "heartbeat.count": () => Promise.resolve(7),
    "heartbeat.alive": () => Promise.resolve(told.push("alive")).then(() => null),
    "heartbeat.unregister": ({ id }) => Promise.resolve(id === "callback-1"),
  };
  await withPool({ taskPaths: [folder.path], asks }, async (pool) => {
    expect(await pool.run(request("ask", ["callback-1"]))).toMatchObject({
      resultJson: "[7,true]",
    });
    expect(await pool.run(request("ask", ["other"]))).toMatchObject({ resultJson: "[7,false]" });
    expect(told).toEqual(["alive", "alive"]);
  });
});
