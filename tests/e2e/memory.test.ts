/** `--max-memory`, in the compiled executable. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";

const TASKS = `import { task } from "coxswain";
const kept = [];
task("hoard.arrays", () => { for (let i = 0;; i++) kept.push(new Array(10_000).fill(i)); });
task("hoard.bytes", () => { for (;;) kept.push(new Uint8Array(2 ** 20).fill(1)); });
task("hoard.texts", () => { for (let i = 0;; i++) kept.push(JSON.stringify("x".repeat(2 ** 20) + i)); });
task("hoard.process", { isolation: "process" }, () => {
  for (;;) kept.push(new Uint8Array(2 ** 20).fill(1));
});
`;
const MIB = 2 ** 20;
const HOARDS = ["hoard.arrays", "hoard.bytes", "hoard.texts"] as const;

let folder: ReturnType<typeof temporaryFolder>;
beforeAll(() => {
  folder = temporaryFolder();
  mkdirSync(join(folder.path, "tasks"));
  writeFileSync(join(folder.path, "tasks/hoards.ts"), TASKS);
});
afterAll(() => folder.remove());

/** proc(5): the second figure is in pages of 4 KiB. */
function memoryOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * 4_096;
}

describe("all --isolates 2 --max-memory 512M", () => {
  let app: App;
  beforeAll(async () => {
    app = await startNode([
      ...["all", "--port", "0", "--isolates", "2", "--max-memory", "512M"],
      ...["--tasks", join(folder.path, "tasks")],
    ]);
  });
  afterAll(() => app[Symbol.asyncDispose]());

  const exceeded = async (task: string) => {
    const response = await app.call(task, []);
    const problem = await response.json();
    expect(response.status).toBe(500);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(problem).toMatchObject({
      type: "/problems/task-failed",
      task,
      error: { type: "MemoryLimitExceeded" },
    });
    expect(problem.error.message).toMatch(
      /held (about )?\d+MiB.*, past the memory limit of 512MiB$/,
    );
    expect(problem.detail).toContain("MemoryLimitExceeded");
    return problem;
  };

  test.each(HOARDS)(
    "%s ends with a clear error; a neighbour's call and the process go on",
    async (task) => {
      const { pid } = app;
      const neighbour = app.call("sleep", [1.5]);
      await exceeded(task);
      expect(await (await app.call("math.add", [1, 2])).json()).toBe(3);
      expect(await (await neighbour).json()).toBe(1.5);
      await until(() => memoryOf(pid) < 256 * MIB, "the memory to come back");
      expect(app.isRunning).toBe(true);
    },
  );

  test("twenty in a row, three kinds, while calls go on beside them", async () => {
    const isOver = new AbortController();
    const statuses = (async () => {
      const seen: number[] = [];
      while (!isOver.signal.aborted) seen.push((await app.call("math.add", [1, 2])).status);
      return seen;
    })();
    for (let round = 0; round < 20; round++) await exceeded(HOARDS[round % 3] ?? HOARDS[0]);
    isOver.abort();
    expect(new Set(await statuses)).toEqual(new Set([200]));
    await until(() => memoryOf(app.pid) < 256 * MIB, "the memory to come back");
  });

  test("a process isolate is judged by its own memory", async () => {
    const { error } = await exceeded("hoard.process");
    expect(error.message).toContain("its process");
    expect(memoryOf(app.pid)).toBeLessThan(256 * MIB);
  });
});

describe("a limit that makes no sense", () => {
  test.each(["lots", "-5M", "0", "3X", "1K"])("%s is refused with what is needed", async (size) => {
    const { code, log } = await runApp(["all", "--port", "0", `--max-memory=${size}`]);
    expect(code).toBe(2);
    expect(log).toContain("--max-memory");
    expect(log).toContain("expected a size from 16MiB");
  });

  test("is one that the node does not fit into at rest", async () => {
    const { code, log } = await runApp(["all", "--port", "0", "--max-memory", "32M"]);
    expect(code).toBe(2);
    expect(log).toMatch(/Cannot keep to --max-memory 32MiB: this node needs about \d+MiB at rest/);
  });

  test("is kept while task files load, too", async () => {
    writeFileSync(
      join(folder.path, "greedy.ts"),
      "const kept = []; for (;;) kept.push(new Uint8Array(2 ** 20).fill(1));",
    );
    const { code, log } = await runApp([
      ...["all", "--port", "0", "--max-memory", "256M"],
      ...["--tasks", join(folder.path, "greedy.ts")],
    ]);
    expect(code).toBe(2);
    expect(log).toMatch(/Cannot start.*it held \d+MiB before it was ready/);
  });

  test("and one for a front, which runs no task", async () => {
    const { code, log } = await runApp(["serve", "--max-memory", "512M"]);
    expect(code).toBe(2);
    expect(log).toContain("has no meaning for serve; it belongs to all, work");
  });

  test("can be given by variable", async () => {
    const env = { COX_MAX_MEMORY: "32M" };
    expect(await runApp(["all", "--port", "0"], { env })).toMatchObject({ code: 2 });
  });
});
