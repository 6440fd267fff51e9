/** `app bench` against fronts that answer, fail, hang and are not there. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type App, App as Process, runApp, startNode, until } from "../support/app.ts";

let app: App;
beforeAll(async () => {
  app = await startNode(["all", "--port", "0", "--isolates", "2", "--slots", "1000"]);
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
});

test("says 100.0% request success! of calls and of jobs, and ends with 0", async () => {
  for (const flags of [[], ["--jobs"]]) {
    const { code, output } = await runApp([
      ...["bench", "math.add", "[1,2]", "--url", app.url, "--requests", "300", ...flags],
    ]);
    expect(output).toStartWith("100.0% request success!\n");
    expect(output).toContain("300 requests in");
    expect(code).toBe(0);
  }
});

test("keeps a thousand requests in flight", async () => {
  const before = performance.now();
  const { code, output } = await runApp([
    ...["bench", "sleep", "[1]", "--url", app.url, "--requests", "1000", "--concurrency", "1000"],
    ...["--timeout", "20s", "--json"],
  ]);
  const figures = JSON.parse(output);
  expect(figures).toMatchObject({ requests: 1_000, succeeded: 1_000, successShare: 1, errors: [] });
  expect(figures.latencyMs.p50).toBeGreaterThanOrEqual(1_000);
  // Ten at a time they would take 100 s.
  expect(performance.now() - before).toBeLessThan(20_000);
  expect(code).toBe(0);
}, 60_000);

test("counts failures by what they were, and ends with 1", async () => {
  const of = async (...args: string[]) => {
    const { code, output } = await runApp(["bench", ...args, "--requests", "20", "--json"]);
    expect(code).toBe(1);
    return JSON.parse(output).errors;
  };
  expect(await of("fail", "--url", app.url)).toEqual([{ type: "500 task-failed", count: 20 }]);
  expect(await of("no.such.task", "--url", app.url)).toEqual([
    { type: "404 unknown-task", count: 20 },
  ]);
  using deaf = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Promise(() => {}) });
  const url = `http://127.0.0.1:${deaf.port}`;
  expect(await of("echo", "--url", url, "--timeout", "200ms")).toEqual([
    { type: "timeout", count: 20 },
  ]);
});

test("ends with 3 where no front is, and with 2 where the words make no sense", async () => {
  const nobody = await runApp(["bench", "echo", "--url", "http://127.0.0.1:1", "--requests", "5"]);
  expect(nobody.output).toContain("5  connection refused");
  expect(nobody.code).toBe(3);
  expect((await runApp(["bench"])).code).toBe(2);
  const input = await runApp(["bench", "echo", "{nonsense", "--url", app.url]);
  expect(input.log).toContain("INPUT is not JSON");
  expect(input.code).toBe(2);
});

test("Ctrl-C tells what was done so far", async () => {
  await using bench = new Process([
    ...["bench", "sleep", "[0.2]", "--url", app.url, "--requests", "100000"],
  ]);
  await Bun.sleep(1_000);
  bench.signal("SIGINT");
  expect(await bench.exited()).toBe(0);
  expect(bench.output).toStartWith("100.0% request success!");
});

test("Ctrl-C waits for nothing that is in flight", async () => {
  await using bench = new Process([
    ...["bench", "sleep", "[60]", "--url", app.url, "--timeout", "5m", "--concurrency", "5"],
  ]);
  await until(async () => (await nodeLoad()).running === 5, "all to run");
  const before = performance.now();
  bench.signal("SIGINT");
  expect(await bench.exited()).toBe(1);
  expect(performance.now() - before).toBeLessThan(5_000);
  expect(bench.output).toContain("0 requests in");
});

async function nodeLoad(): Promise<{ readonly running: number }> {
  const [node] = await (await fetch(`${app.url}/nodes`)).json();
  return node?.load ?? { running: 0 };
}
