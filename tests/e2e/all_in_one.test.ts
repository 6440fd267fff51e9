/** `./app all` as its users meet it: one process, nothing else installed, from a folder of its own. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openConnection } from "../../scripts/bench/http_client.ts";
import { type App, runApp, startNode, temporaryFolder, until, within } from "../support/app.ts";

const TASKS = `
import { context, Reject, setup, task } from "coxswain";

export const settings = setup(() => ({ calls: 0 }));

task("count", () => ++(context.settings as { calls: number }).calls);
task("headers", () => {
  context.headers["x-answer"] = context.request.headers["x-question"] ?? "none";
  return null;
});
task("reject", () => { throw new Reject("not today"); });
task("custom", () => { class TeapotError extends Error { name = "TeapotError" } throw new TeapotError("short and stout"); });
task("exit", () => process.exit(7));
task("native", { isolation: "process" }, (seconds: number) => { Bun.sleepSync(seconds * 1000); return "woke"; });
task("patient", { softTimeout: "100ms" }, async () => {
  await new Promise((resolve) => context.signal.addEventListener("abort", resolve));
  return "stopped in time";
});
const Even = {
  "~standard": {
    version: 1 as const,
    vendor: "test",
    validate: (value: unknown) =>
      typeof value === "number" && value % 2 === 0
        ? { value }
        : { issues: [{ message: "must be an even number", path: [] }] },
    types: undefined as unknown as { input: number; output: number },
  },
};
task("even", { input: Even }, (n: number) => n / 2);
task("wéird/näme 1", () => "odd");
`;

describe("./app all", () => {
  let app: App;
  const folder = temporaryFolder();

  beforeAll(async () => {
    mkdirSync(join(folder.path, "tasks"));
    writeFileSync(join(folder.path, "tasks", "some.ts"), TASKS);
    app = await startNode(["all", "--port", "0", "--tasks", "tasks", "--isolates", "2"], {
      cwd: folder.path,
    });
  });
  afterAll(async () => {
    await app[Symbol.asyncDispose]();
    folder.remove();
  });

  const problem = async (response: Response) => {
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    return await response.json();
  };

  test("answers a call with its result", async () => {
    const response = await app.call("math.add", [1, 2]);
    expect(response.status).toBe(200);
    expect(await response.text()).toBe("3");
  });

  test("keeps settings between the calls of an isolate", async () => {
    const counts: number[] = [];
    for (let i = 0; i < 6; i++) counts.push(await (await app.call("count", [])).json());
    expect(Math.max(...counts)).toBeGreaterThanOrEqual(3);
    expect(await (await app.call("stat", [])).json()).toMatch(
      /^I'm worker ".+"\. And I serve \d+ tasks$/,
    );
  });

  test("carries headers both ways, fresh for each call", async () => {
    const response = await app.call("headers", [], "", { headers: { "x-question": "why" } });
    expect(response.headers.get("x-answer")).toBe("why");
    expect((await app.call("headers", [])).headers.get("x-answer")).toBe("none");
  });

  test("tells an error by its type and message", async () => {
    const response = await app.call("custom", []);
    expect(response.status).toBe(500);
    expect(await problem(response)).toMatchObject({
      error: { type: "TeapotError", message: "short and stout" },
    });
    expect((await app.call("reject", [])).status).toBe(500);
    expect(JSON.stringify(await (await app.call("custom", [])).json())).not.toContain("some.ts");
  });

  test("answers 422 with the findings of the task's schema", async () => {
    expect(await (await app.call("even", 4)).json()).toBe(2);
    const response = await app.call("even", 3);
    expect(response.status).toBe(422);
    expect(await problem(response)).toMatchObject({
      issues: [{ message: "must be an even number" }],
    });
  });

  test("calls a task whose name has odd characters", async () => {
    expect(await (await app.call("wéird/näme 1", [])).json()).toBe("odd");
  });

  test("answers 404 for a task that nobody serves, within 50 ms (asserted: 250)", async () => {
    const before = performance.now();
    const response = await app.call("no.such.task", []);
    expect(performance.now() - before).toBeLessThan(250);
    expect(response.status).toBe(404);
    expect((await problem(response)).type).toEndWith("unknown-task");
  });

  test("answers 400 for a body that is not JSON, and for an option that makes no sense", async () => {
    const bad = await app.call("echo", null, "", { body: "{nonsense" });
    expect(bad.status).toBe(400);
    const option = await app.call("echo", null, "?timeout=soon");
    expect(option.status).toBe(400);
    expect((await problem(option)).detail).toContain("timeout");
  });

  test("carries 10 MiB there and back", async () => {
    const text = "0123456789abcdef".repeat(655_360);
    const response = await app.call("echo", [text]);
    expect(response.status).toBe(200);
    expect(JSON.stringify(await response.json())).toContain(text);
  });

  test("refuses 13 MiB with 413", async () => {
    expect((await app.call("echo", ["x".repeat(13 * 2 ** 20)])).status).toBe(413);
  });

  test("stops a task that spins at its limit, and goes on", async () => {
    const before = performance.now();
    const response = await app.call("dead", [], "?timeout=500ms");
    const tookMs = performance.now() - before;
    expect(response.status).toBe(504);
    expect((await problem(response)).type).toEndWith("timed-out");
    expect(tookMs).toBeGreaterThanOrEqual(500);
    expect(tookMs).toBeLessThan(750);
    expect(await (await app.call("math.add", [2, 2])).json()).toBe(4);
  });

  test("answers health while every isolate spins", async () => {
    const spinning = [1, 2].map(() => app.call("dead", [], "?timeout=2s"));
    for (let i = 0; i < 50; i++) {
      const before = performance.now();
      expect((await fetch(`${app.url}/healthz`)).status).toBe(200);
      expect(performance.now() - before).toBeLessThan(250);
    }
    for (const response of await Promise.all(spinning)) expect(response.status).toBe(504);
  });

  test("stops native code that blocks, in a process of its own", async () => {
    const before = performance.now();
    const response = await app.call("native", [30], "?timeout=1s");
    expect(response.status).toBe(504);
    expect(performance.now() - before).toBeLessThan(1_500);
    expect(await (await app.call("native", [0])).json()).toBe("woke");
  });

  test("tells a task of its soft limit", async () => {
    expect(await (await app.call("patient", [])).json()).toBe("stopped in time");
  });

  test("loses nothing but the attempt when an isolate ends by itself", async () => {
    const response = await app.call("exit", []);
    expect(response.status).toBe(500);
    expect((await problem(response)).error.type).toBe("IsolateDied");
    const after = await Promise.all([1, 2, 3, 4].map((n) => app.call("math.add", [n, 1])));
    expect(after.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  });

  test("stops the attempt when its client goes away", async () => {
    const gone = new AbortController();
    const calls = [1, 2].map(() =>
      app.call("sleep", [60], "", { signal: gone.signal }).then(
        () => "answered",
        () => "gone",
      )
    );
    await until(
      async () => (await (await fetch(`${app.url}/readyz`)).json()).worker?.running === 2,
      "both isolates to be busy",
    );
    gone.abort();
    expect(await Promise.all(calls)).toEqual(["gone", "gone"]);
    expect(await (await app.call("math.add", [3, 3])).json()).toBe(6);
  });

  test("answers parallel calls in their order, one failure among them", async () => {
    const ask = async (calls: unknown) => {
      const response = await fetch(`${app.url}/parallel`, {
        method: "POST",
        body: JSON.stringify(calls),
      });
      expect(response.status).toBe(200);
      return await response.json();
    };
    expect(await ask([])).toEqual([]);
    expect(
      await ask([
        { task: "sleep", input: [0.2] },
        { task: "custom" },
        { task: "math.add", input: [1, 2] },
      ]),
    ).toMatchObject([{ result: expect.anything() }, { error: {} }, { result: 3 }]);
  });

  test("lists the tasks that it serves", async () => {
    const tasks: { name: string; queue: string }[] = await (await fetch(`${app.url}/tasks`)).json();
    expect(tasks.find(({ name }) => name === "math.add")?.queue).toBe("demo");
    expect(tasks.find(({ name }) => name === "count")?.queue).toBe("default");
  });

  test("refuses a second process on its data folder", async () => {
    const second = await runApp(["all", "--port", "0"], { cwd: folder.path });
    expect(second.code).not.toBe(0);
    expect(second.log).toContain("coxswain-data");
  });
});

test("3,000 calls of one second at once are all answered", async () => {
  await using app = await startNode(
    ["all", "--port", "0", "--isolates", "2", "--slots", "1500"],
  );
  // fetch() keeps 256 requests in flight at most: these are sockets of their own.
  const connections = await Promise.all(
    Array.from({ length: 3_000 }, () => openConnection(`${app.url}/tasks/sleep/call`, "[1]")),
  );
  const before = performance.now();
  const answers = await Promise.all(connections.map((connection) => connection.request()));
  expect(answers.filter((isOk) => isOk)).toHaveLength(3_000);
  expect(performance.now() - before).toBeLessThan(10_000);
  for (const connection of connections) connection.close();
}, 60_000);

test("memory and threads stay level over 1,000 kills, and no capacity is lost", async () => {
  await using app = await startNode(["all", "--port", "0", "--isolates", "2"]);
  const kill = async (count: number) => {
    let left = count;
    const one = async () => {
      while (left-- > 0) {
        const response = await app.call("dead", [], "?timeout=5ms");
        await response.body?.cancel();
        expect(response.status).toBe(504);
      }
    };
    await Promise.all([one(), one()]);
  };
  const threads = () => readdirSync(`/proc/${app.pid}/task`).length;
  const rssMiB = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${app.pid}/status`, "utf8"))?.[1]) / 1024;
  // Killed threads take a moment to end, and what they leave behind is cleared away when it is quiet:
  // what is compared is the process at rest.
  const atRest = async () => {
    let lowest = Infinity;
    for (let i = 0; i < 20; i++) {
      await Bun.sleep(100);
      lowest = Math.min(lowest, rssMiB());
    }
    return { rss: lowest, threads: threads() };
  };
  // The allocator gives and takes a few MiB from one rest to the next, so that one rest says little.
  const medianRest = async () => {
    const rests = [await atRest()];
    for (let i = 0; i < 4; i++) {
      await kill(25);
      rests.push(await atRest());
    }
    const median = (values: number[]) => values.sort((a, b) => a - b)[2] ?? NaN;
    return {
      rss: median(rests.map(({ rss }) => rss)),
      threads: median(rests.map(({ threads }) => threads)),
    };
  };
  // The code of the road itself is compiled by and by, whether or not anything is killed.
  const warming = await openConnection(`${app.url}/tasks/math.add/call`, "[1,2]");
  for (let i = 0; i < 3_000; i++) await warming.request();
  warming.close();
  await kill(100);
  const early = await medianRest();
  await kill(700);
  const late = await medianRest();
  expect(late.rss).toBeLessThan(early.rss * 1.1);
  expect(Math.abs(late.threads - early.threads)).toBeLessThanOrEqual(2);
  const both = await within(
    Promise.all([1, 2].map((n) => app.call("sleep", [0.5], `?timeout=${5 + n}s`))),
    "two calls side by side",
  );
  expect(both.map(({ status }) => status)).toEqual([200, 200]);
}, 240_000);

describe("SIGTERM", () => {
  test("lets what runs finish, then ends with 0", async () => {
    await using app = await startNode(["all", "--port", "0"]);
    const call = app.call("sleep", [1]);
    await until(
      async () => (await (await fetch(`${app.url}/readyz`)).json()).worker?.running === 1,
      "the call to run",
    );
    app.signal("SIGTERM");
    expect((await call).status).toBe(200);
    expect(await app.exited()).toBe(0);
    expect(app.log).toContain("Stopped");
  });

  test("stops what runs past the grace time, and still ends with 0", async () => {
    await using app = await startNode(["all", "--port", "0", "--grace", "1"]);
    const call = app.call("dead", [], "?timeout=3s").then(({ status }) => status, () => "cut");
    await until(
      async () => (await (await fetch(`${app.url}/readyz`)).json()).worker?.running === 1,
      "the call to run",
    );
    const before = performance.now();
    app.signal("SIGTERM");
    expect(await app.exited()).toBe(0);
    expect(performance.now() - before).toBeLessThan(5_000);
    expect([502, 503, "cut"]).toContain(await call);
  });

  test("twice stops at once", async () => {
    await using app = await startNode(["all", "--port", "0"]);
    const call = app.call("sleep", [60]).then(({ status }) => status, () => "cut");
    await until(
      async () => (await (await fetch(`${app.url}/readyz`)).json()).worker?.running === 1,
      "the call to run",
    );
    app.signal("SIGTERM");
    await app.logged(/Stopping/);
    app.signal("SIGINT");
    expect(await app.exited()).not.toBe(0);
    await call;
  });
});
