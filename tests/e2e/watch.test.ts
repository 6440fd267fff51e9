/** `--watch`, in the compiled executable: what a developer does all day. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
  mkdirSync(join(folder.path, "tasks"));
});
afterEach(() => folder.remove());

const write = (name: string, content: string) => writeFileSync(join(folder.path, name), content);
const task = (name: string, body: string) =>
  `import { task } from "coxswain";\ntask(${JSON.stringify(name)}, ${body});\n`;

const start = (...args: string[]) =>
  startNode(["all", "--port", "0", "--isolates", "2", "--watch", ...args], { cwd: folder.path });

interface Line {
  readonly logger: string;
  readonly level: string;
  readonly message: string;
}

/** What was logged of changes. */
function told(app: App): readonly Line[] {
  return app.log.split("\n").filter((line) => line !== "")
    .map((line): Line => JSON.parse(line))
    .filter(({ logger }) => logger === "coxswain.watch");
}

async function answer(app: App, name: string): Promise<unknown> {
  const response = await app.call(name, []);
  return response.status === 200 ? await response.json() : response.status;
}

/** Waits for the next line about a change. */
async function nextLine(app: App, act: () => void): Promise<Line & { tookMs: number }> {
  const before = told(app).length;
  const startedAt = performance.now();
  act();
  await until(() => told(app).length > before, `a change to be told; log:\n${app.log}`);
  const line = told(app)[before];
  if (line === undefined) throw new Error("There is one");
  return { ...line, tookMs: performance.now() - startedAt };
}

/** Processes that this one has started and that still are. */
function childrenOf(pid: number): readonly number[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).filter((name) => {
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "utf8");
      return Number(stat.slice(stat.lastIndexOf(") ") + 2).split(" ")[1]) === pid;
    } catch {
      // Ended while we looked.
      return false;
    }
  }).map(Number);
}

describe("all --watch", () => {
  test("applies what a developer does to task files, and keeps its port and process", async () => {
    write("tasks/a.ts", task("a", "() => 1"));
    await using app = await start("--tasks", "tasks");
    const { url, pid } = app;
    expect(await answer(app, "a")).toBe(1);

    const changed = await nextLine(app, () => write("tasks/a.ts", task("a", "() => 2")));
    expect(changed.message).toMatch(/"tasks\/a.ts changed": reloaded in \d+ ms$/);
    // It takes a quarter of this where the machine has nothing else to do.
    expect(changed.tookMs).toBeLessThan(2_500);
    expect(await answer(app, "a")).toBe(2);

    const added = await nextLine(app, () => write("tasks/b.ts", task("b", "() => 'b'")));
    expect(added.message).toMatch(/"tasks\/b.ts added": reloaded in \d+ ms; new: "b"$/);
    expect(await answer(app, "b")).toBe("b");

    const broken = await nextLine(app, () => write("tasks/b.ts", "import { task } from; ("));
    expect(broken.level).toBe("ERROR");
    expect(broken.message).toMatch(
      /"tasks\/b.ts changed"; the version before goes on: "Cannot load task file .*b\.ts:1:/,
    );
    expect(await answer(app, "b")).toBe("b");

    await nextLine(app, () => write("tasks/b.ts", task("b", "() => 'mended'")));
    expect(await answer(app, "b")).toBe("mended");

    const removed = await nextLine(app, () => rmSync(join(folder.path, "tasks/b.ts")));
    expect(removed.message).toMatch(/"tasks\/b.ts removed": reloaded in \d+ ms; gone: "b"$/);
    expect(await answer(app, "b")).toBe(404);
    expect(await answer(app, "a")).toBe(2);
    expect(await (await fetch(`${url}/tasks`)).text()).not.toContain('"b"');
    expect(app.pid).toBe(pid);
  });

  test("sees what is saved by renaming, and what task files import", async () => {
    write("lib.ts", "export const answer = 1;");
    write("tasks/a.ts", `import { answer } from "../lib.ts";\n${task("a", "() => answer")}`);
    await using app = await start("--tasks", "tasks");
    expect(await answer(app, "a")).toBe(1);
    const renamed = await nextLine(app, () => {
      write("lib.ts.swap", "export const answer = 2;");
      renameSync(join(folder.path, "lib.ts.swap"), join(folder.path, "lib.ts"));
    });
    expect(renamed.message).toContain('"lib.ts changed"');
    expect(await answer(app, "a")).toBe(2);
    const missing = await nextLine(app, () => rmSync(join(folder.path, "lib.ts")));
    expect(missing.message).toContain("the version before goes on");
    await nextLine(app, () => write("lib.ts", "export const answer = 3;"));
    expect(await answer(app, "a")).toBe(3);
  });

  test("takes two quick saves for one, and loads the latter", async () => {
    write("tasks/a.ts", task("a", "() => 1"));
    await using app = await start("--tasks", "tasks");
    await nextLine(app, () => {
      write("tasks/a.ts", "");
      write("tasks/a.ts", task("a", "() => 2"));
      setTimeout(() => write("tasks/a.ts", task("a", "() => 3")), 25);
    });
    expect(await answer(app, "a")).toBe(3);
    // Another change is told by another line, and there is none in between.
    await nextLine(app, () => write("tasks/a.ts", task("a", "() => 4")));
    expect(told(app)).toHaveLength(2);
  });

  test("waits for files that do not load at the start, or are not there, to be mended", async () => {
    write("tasks/a.ts", "export const (");
    await using app = await start("--tasks", "tasks", "later.ts");
    expect(told(app)[0]?.message).toContain("Waiting for a change of the task files:");
    expect((await fetch(`${app.url}/readyz`)).status).toBe(503);
    expect(await answer(app, "a")).toBe(404);
    const still = await nextLine(app, () => write("tasks/a.ts", task("a", "() => 1")));
    expect(still.message).toContain("there is still nothing to serve");
    expect(still.message).toContain("later.ts");
    await nextLine(app, () => write("later.ts", task("later", "() => 2")));
    expect([await answer(app, "a"), await answer(app, "later")]).toEqual([1, 2]);
  });

  test("serves nothing where what was saved cannot be declared, and says so", async () => {
    write("tasks/a.ts", task("a", "() => 1"));
    await using app = await start("--tasks", "tasks");
    const line = await nextLine(app, () =>
      write(
        "tasks/b.ts",
        `import { consume } from "coxswain"; consume({ queue: "default" }, () => {});`,
      ));
    expect(line.message).toContain("nothing is served until it is mended");
    expect(line.message).toContain("Cannot consume queue");
    expect(await answer(app, "a")).toBe(404);
    await nextLine(app, () => rmSync(join(folder.path, "tasks/b.ts")));
    expect(await answer(app, "a")).toBe(1);
  });

  test("lets calls in flight end, runs again what it cut short, and loses no call", async () => {
    const old = `import { task } from "coxswain";
      task("slow", () => new Promise((resolve) => setTimeout(() => resolve("old"), 500)));
      task("stuck", () => { while (true); });`;
    write("tasks/a.ts", old);
    await using app = await start("--tasks", "tasks");
    const slow = answer(app, "slow");
    const stuck = answer(app, "stuck");
    const readyz = async () => await (await fetch(`${app.url}/readyz`)).json();
    await until(async () => (await readyz()).worker?.running === 2, "both to run");
    const during: Promise<unknown>[] = [];
    await nextLine(app, () => {
      write(
        "tasks/a.ts",
        old.replace("while (true);", 'return "mended";').replace('"old"', '"new"'),
      );
      for (let call = 0; call < 20; call++) during.push(answer(app, "math.add"));
    });
    expect(await answer(app, "slow")).toBe("new");
    expect(await slow).toBe("old");
    expect(await stuck).toBe("mended");
    expect(new Set(await Promise.all(during))).toEqual(new Set([500]));
  });

  test("starts anew with changed settings, on the same port, and passes over bad ones", async () => {
    write("coxswain.json", JSON.stringify({ tasks: ["tasks"] }));
    write("tasks/a.ts", task("a", "() => 1"));
    mkdirSync(join(folder.path, "more"));
    write("more/b.ts", task("b", "() => 2"));
    await using app = await start();
    const { url, pid } = app;
    expect([await answer(app, "a"), await answer(app, "b")]).toEqual([1, 404]);

    const restarted = await nextLine(
      app,
      () => write("coxswain.json", JSON.stringify({ tasks: ["tasks", "more"] })),
    );
    expect(restarted.message).toMatch(/"coxswain.json changed": started anew in \d+ ms$/);
    expect(app.url).toBe(url);
    expect([await answer(app, "a"), await answer(app, "b")]).toEqual([1, 2]);

    const bad = await nextLine(
      app,
      () => write("coxswain.json", `{"tasks": ["tasks"], "slots": 0}`),
    );
    expect(bad.message).toContain("the settings before go on");
    expect(bad.message).toContain("slots");
    expect(await answer(app, "b")).toBe(2);

    const unusable = await nextLine(
      app,
      () => write("coxswain.json", `{"tasks": ["tasks"], "maxMemory": "32M"}`),
    );
    expect(unusable.message).toContain("Cannot keep to --max-memory 32MiB");
    // It has started anew all the same, without a worker, and tells that, too.
    await until(() => told(app).at(-1)?.message.includes("started anew") === true, "a start");
    await nextLine(app, () => rmSync(join(folder.path, "coxswain.json")));
    expect(await answer(app, "a")).toBe(404);
    expect(await answer(app, "math.add")).toBe(500);
    expect(app.pid).toBe(pid);
  });

  test.each(["SIGINT", "SIGTERM"] as const)(
    "%s ends it at once, and no process is left",
    async (signal) => {
      write(
        "tasks/a.ts",
        `import { task } from "coxswain";
       task("deaf", { isolation: "process" }, () => { while (true); });
       task("spin", () => { while (true); });`,
      );
      await using app = await start("--tasks", "tasks");
      const calls = [answer(app, "deaf"), answer(app, "spin")].map((one) => one.catch(() => "cut"));
      await until(() => childrenOf(app.pid).length > 0, "the process isolate");
      await nextLine(app, () => write("tasks/b.ts", task("b", "() => 1")));
      const children = childrenOf(app.pid);
      const startedAt = performance.now();
      app.signal(signal);
      expect(await app.exited()).toBe(0);
      expect(performance.now() - startedAt).toBeLessThan(2_500);
      await until(
        () => children.every((pid) => !readdirSync("/proc").includes(String(pid))),
        "its processes to end",
      );
      await Promise.all(calls);
    },
  );
});

describe("elsewhere", () => {
  test(
    "a worker tells fronts what changed, with the broker away in between; a front follows its settings",
    async () => {
      const rabbit = await startRabbitMq();
      await using _stopped = { [Symbol.asyncDispose]: () => rabbit.dispose() };
      write("tasks/a.ts", task("a", "() => 1"));
      const args = ["--amqp-url", rabbit.url];
      await using worker = await startNode(
        ["work", ...args, "--tasks", "tasks", "--no-demo", "--watch"],
        { cwd: folder.path },
      );
      const front = temporaryFolder();
      await using serve = await startNode(["serve", ...args, "--port", "0", "--watch"], {
        cwd: front.path,
      });
      await until(async () => await answer(serve, "a") === 1, "the first task");
      await nextLine(worker, () => {
        rmSync(join(folder.path, "tasks/a.ts"));
        write("tasks/b.ts", task("b", "() => 2"));
      });
      await until(async () => await answer(serve, "b") === 2, "the new task");
      expect(await answer(serve, "a")).toBe(404);
      const line = await nextLine(
        serve,
        () => writeFileSync(join(front.path, "coxswain.json"), `{"maxPending": 5}`),
      );
      expect(line.message).toContain('"coxswain.json added": started anew');
      await until(async () => await answer(serve, "b") === 2, "the front to be back");

      await rabbit.stop();
      write("tasks/b.ts", task("b", "() => 3"));
      await worker.logged(/The broker is away/);
      await rabbit.start();
      await until(async () => await answer(serve, "b") === 3, "what was saved while it was away");
      front.remove();
    },
    60_000,
  );

  test("it is refused where there is nothing to watch for", async () => {
    const { code, log } = await runApp(["call", "echo", "--watch"]);
    expect(code).toBe(2);
    expect(log).toContain("has no meaning for call; it belongs to all, serve, work");
    write("coxswain.json", `{"watch": true}`);
    const inFile = await runApp(["all", "--port", "0"], { cwd: folder.path });
    expect(inFile.code).toBe(2);
    expect(inFile.log).toContain("no such setting");
  });
});
