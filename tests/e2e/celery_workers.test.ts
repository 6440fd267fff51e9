/** `./app` before real workers of Celery's: what they run for it, and what it makes of what they tell. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  celeryVhost,
  type CeleryWorker,
  startCeleryWorker,
} from "../../scripts/services/celery.ts";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, until } from "../support/app.ts";

const LIMIT_MS = 60_000;

let rabbit: RabbitMq;
let url: string;
let worker: CeleryWorker;
let front: App;

beforeAll(async () => {
  rabbit = await startRabbitMq();
  url = celeryVhost(rabbit, "beside");
  worker = await startCeleryWorker({
    url,
    concurrency: 2,
    events: true,
    settings: { worker_prefetch_multiplier: 1 },
  });
  front = await startNode([
    "serve",
    ...["--port", "0", "--amqp-url", url],
    ...["--routes", JSON.stringify({ "tasks.*": { queue: "celery" }, "nowhere.*": "nowhere" })],
  ]);
}, 120_000);

afterAll(async () => {
  await front?.[Symbol.asyncDispose]();
  await worker?.[Symbol.asyncDispose]();
  await rabbit?.dispose();
}, 60_000);

/** A problem's kind, and what it says. */
async function problem(response: Response): Promise<Record<string, unknown> & { kind: string }> {
  const body: Record<string, unknown> & { type: string } = await response.json();
  return { ...body, kind: body.type.split("/").at(-1) ?? "" };
}

describe("a call of a Celery task", () => {
  test("gets its result, by a route and by a named queue", async () => {
    const routed = await front.call("tasks.add", [1, 2]);
    expect([routed.status, await routed.text()]).toEqual([200, "3"]);
    const named = await front.call("tasks.add", { x: "a", y: "b" }, "?queue=celery");
    expect([named.status, await named.json()]).toEqual([200, "ab"]);
    const unrouted = await front.call("other.add", [1, 2]);
    expect((await problem(unrouted)).kind).toBe("unknown-task");
  }, LIMIT_MS);

  test("carries what Celery gives its tasks", async () => {
    const query = "?priority=7&timeout=20s";
    const headers = { "x-user": "7" };
    const seen = await (await front.call("tasks.echo", { a: 1 }, query, { headers })).json();
    expect(seen).toMatchObject({
      kwargs: { a: 1 },
      priority: 7,
      retries: 0,
      timelimit: [20, null],
      headers: { "x-user": "7" },
    });
    expect(seen.root).toBe(seen.id);
  }, LIMIT_MS);

  test("is a problem with the exception's type and message", async () => {
    const failed = await front.call("tasks.fail", ["no luck"]);
    expect(failed.status).toBe(500);
    expect(await problem(failed)).toMatchObject({
      kind: "task-failed",
      error: { type: "ValueError", message: "no luck" },
    });
    const custom = await problem(await front.call("tasks.failcustom", []));
    expect(custom.error).toEqual({ type: "CustomError", message: "7, custom" });
  }, LIMIT_MS);

  test("is 404 for a task that the worker lacks, and for a queue that is not there", async () => {
    const lacking = await front.call("tasks.nosuch", []);
    expect([lacking.status, (await problem(lacking)).kind]).toEqual([404, "unknown-task"]);
    const before = performance.now();
    for (const call of [front.call("nowhere.x", []), front.call("tasks.add", [], "?queue=none")]) {
      const response = await call;
      expect([response.status, (await problem(response)).kind]).toEqual([404, "unknown-queue"]);
    }
    expect(performance.now() - before).toBeLessThan(2_500);
  }, LIMIT_MS);

  test("waits for Celery's own retries", async () => {
    const response = await front.call("tasks.retry", [2, 0.1], "?timeout=30s");
    expect([response.status, await response.json()]).toEqual([200, { retries: 2 }]);
    const exhausted = await front.call("tasks.retry", [5, 0.1], "?timeout=30s");
    expect((await problem(exhausted)).error).toEqual({ type: "RuntimeError", message: "not yet" });
  }, LIMIT_MS);

  test("is 504 where the worker stops it at its limit", async () => {
    const response = await front.call("tasks.sleep", [20], "?timeout=1s");
    expect(response.status).toBe(504);
    expect(await problem(response)).toMatchObject({ kind: "timed-out", limitMs: 1_000 });
  }, LIMIT_MS);

  test("that runs when it expires goes on, and one that waits does not", async () => {
    const running = await logged(
      /tasks\.sleep\S+ received/,
      2,
      () => [1, 2].map(() => front.call("tasks.sleep", [3], "?expires=1s&timeout=20s")),
    );
    const waiting = await front.call("tasks.sleep", [0.01], "?expires=500ms");
    expect([waiting.status, (await problem(waiting)).kind]).toEqual([503, "expired"]);
    for (const response of await Promise.all(running)) expect(await response.json()).toBe(3);
  }, LIMIT_MS);

  test("of a task that gives no result ends when it expires", async () => {
    const response = await front.call("tasks.noresult", [1], "?expires=500ms");
    const { kind, detail } = await problem(response);
    expect([response.status, kind]).toEqual([502, "outcome-unknown"]);
    expect(detail).toContain("ignore_result");
  }, LIMIT_MS);

  test("carries large inputs and results", async () => {
    const text = "0123456789abcdef".repeat(20_000);
    const response = await front.call("tasks.add", [text, "!"]);
    expect((await response.json()).length).toBe(text.length + 1);
  }, LIMIT_MS);

  test("is cancelled on the worker where its client goes away", async () => {
    const gone = new AbortController();
    const [asked] = await logged(
      /tasks\.sleep\S+ received/,
      1,
      () => [front.call("tasks.sleep", [50], "", { signal: gone.signal }).catch(String)],
    );
    await logged(/Terminating \S+ \(15\)/, 1, () => gone.abort());
    await asked;
  }, LIMIT_MS);

  test("comes from the command line too", async () => {
    const args = ["call", "tasks.add", "[1, 2]", "--queue", "celery", "--json"];
    const byBroker = await runApp([...args, "--amqp-url", url]);
    expect([byBroker.code, byBroker.output.trim()]).toEqual([0, "3"]);
    const byFront = await runApp(["call", "tasks.fail", "--url", front.url]);
    expect([byFront.code, byFront.log]).toEqual([1, expect.stringContaining("ValueError: boom")]);
  }, LIMIT_MS);
});

/** Waits for so many lines of the worker's log from now on, after what is done meanwhile. */
async function logged<T>(pattern: RegExp, count: number, doing: () => T): Promise<T> {
  const from = worker.log.length;
  const done = doing();
  const isThere = () =>
    (worker.log.slice(from).match(new RegExp(pattern, "g")) ?? []).length >= count;
  await until(isThere, `${count} of ${pattern} in the log:\n${worker.log.slice(from)}`);
  return done;
}
