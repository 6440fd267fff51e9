/** `./app` before real workers of Celery's: what they run for it, and what it makes of what they tell. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  celeryVhost,
  type CeleryWorker,
  startCeleryWorker,
} from "../../scripts/services/celery.ts";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";

const LIMIT_MS = 60_000;

let rabbit: RabbitMq;
let url: string;
let worker: CeleryWorker;
let front: App;
/** Jobs of a worker that was killed as it ran them. */
let left: { readonly early: string; readonly late: string; readonly cancelled: string };
/** A job whose task keeps its result to itself. */
let silent: string;

beforeAll(async () => {
  rabbit = await startRabbitMq();
  url = celeryVhost(rabbit, "beside");
  const doomed = startCeleryWorker({ url, concurrency: 2, queues: ["doomed", "lost"] });
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
    ...[
      "--schedules",
      JSON.stringify([{ name: "sum", task: "tasks.tsum", every: "1h", input: [[1, 2]] }]),
    ],
  ]);
  const killed = await doomed;
  silent = await submit("tasks.noresult", [1]);
  left = {
    // In a queue that nobody takes from afterwards, and one that somebody takes from again.
    early: await submit("tasks.sleep", [0.5], "?queue=lost"),
    late: await submit("tasks.sleeplate", [0.5], "?queue=doomed"),
    cancelled: "",
  };
  await killed.logged(/tasks\.sleep\S+ received/);
  await killed.logged(/tasks\.sleeplate\S+ received/);
  await killed[Symbol.asyncDispose]();
  left = { ...left, cancelled: await submit("tasks.add", [1, 2], "?queue=doomed") };
  expect((await fetch(`${front.url}/jobs/${left.cancelled}`, { method: "DELETE" })).status).toBe(
    200,
  );
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
  test("that runs when it expires goes on, and one that waits does not", async () => {
    const running = await logged(
      /tasks\.sleep\S+ received/,
      2,
      () => [1, 2].map(() => front.call("tasks.sleep", [3], "?expires=2s&timeout=20s")),
    );
    const waiting = await front.call("tasks.sleep", [0.01], "?expires=500ms");
    expect([waiting.status, (await problem(waiting)).kind]).toEqual([503, "expired"]);
    for (const response of await Promise.all(running)) expect(await response.json()).toBe(3);
  }, LIMIT_MS);

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
    const response = await front.call("tasks.retry", [2, 0], "?timeout=30s");
    expect([response.status, await response.json()]).toEqual([200, { retries: 2 }]);
    const exhausted = await front.call("tasks.retry", [5, 0], "?timeout=30s");
    expect((await problem(exhausted)).error).toEqual({ type: "RuntimeError", message: "not yet" });
  }, LIMIT_MS);

  test("is 504 where the worker stops it at its limit", async () => {
    const response = await front.call("tasks.sleep", [20], "?timeout=1s");
    expect(response.status).toBe(504);
    expect(await problem(response)).toMatchObject({ kind: "timed-out", limitMs: 1_000 });
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

interface ShownJob {
  readonly id: string;
  readonly state: string;
  readonly attempts: readonly Record<string, unknown>[];
  readonly [member: string]: unknown;
}

async function submit(task: string, input: unknown, query = ""): Promise<string> {
  const response = await fetch(`${front.url}/tasks/${task}/jobs${query}`, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { "x-user": "7" },
  });
  const { id, detail } = await response.json();
  if (response.status !== 202) throw new Error(`Not accepted: ${response.status} ${detail}`);
  return id;
}

async function shown(id: string, query = ""): Promise<ShownJob> {
  return await (await fetch(`${front.url}/jobs/${id}${query}`)).json();
}

/** A job that has ended. */
const ended = (id: string) => shown(id, "?wait=30s");

describe("a job of a Celery task", () => {
  test("goes from queued over running to its result, on the worker that ran it", async () => {
    const id = await submit("tasks.sleep", [1]);
    await until(async () => (await shown(id)).state === "running", "it to run");
    expect((await shown(id)).node).toBe(worker.name);
    const job = await ended(id);
    expect(job).toMatchObject({ state: "succeeded", result: 1, attempt: 1, queue: "celery" });
    expect(job.attempts).toEqual([
      expect.objectContaining({ attempt: 1, node: worker.name, outcome: "succeeded" }),
    ]);
  }, LIMIT_MS);

  test("carries its options, and waits here for its time", async () => {
    const before = Date.now();
    const id = await submit("tasks.echo", [1], "?delay=700ms&timeout=9s&expires=1h&priority=3");
    expect((await shown(id)).state).toBe("scheduled");
    const job = await ended(id);
    expect(Date.now() - before).toBeGreaterThanOrEqual(650);
    expect(job.result).toMatchObject({
      id,
      args: [1],
      priority: 3,
      timelimit: [9, null],
      expires: expect.stringContaining("+00:00"),
      headers: { "x-user": "7" },
    });
  }, LIMIT_MS);

  test("fails with the exception, and is tried again where that was asked for", async () => {
    const once = await ended(await submit("tasks.fail", ["no luck"]));
    expect(once).toMatchObject({
      state: "failed",
      attempt: 1,
      error: { type: "ValueError", message: "no luck" },
    });
    const twice = await ended(await submit("tasks.fail", ["no luck"], "?retries=1"));
    expect(twice).toMatchObject({ state: "failed", attempt: 2 });
    expect(twice.attempts.map(({ outcome }) => outcome)).toEqual(["retrying", "failed"]);
    const unknown = await ended(await submit("tasks.nosuch", [], "?retries=3"));
    expect(unknown).toMatchObject({
      state: "failed",
      attempt: 1,
      error: { type: "NotRegistered" },
    });
  }, LIMIT_MS);

  test("has Celery's own retries as attempts", async () => {
    const id = await submit("tasks.retry", [2, 0]);
    expect(await ended(id)).toMatchObject({ state: "succeeded", result: { retries: 2 } });
    // Each attempt is told by a process of its own: the last word may come first.
    const failed = async () => {
      return (await shown(id)).attempts.filter(({ outcome }) => outcome === "retrying");
    };
    await until(async () => (await failed()).length === 2, "both failures");
    const [first] = await failed();
    expect(first).toMatchObject({ error: { type: "RuntimeError", message: "not yet" } });
  }, LIMIT_MS);

  test("is timed out by its worker, and tells its progress", async () => {
    const [late, told] = await Promise.all([
      submit("tasks.sleep", [20], "?timeout=1s").then(ended),
      submit("tasks.progress", []).then(ended),
    ]);
    expect(late.state).toBe("timed_out");
    expect(told).toMatchObject({
      state: "succeeded",
      result: "done",
      progress: { fraction: 0.5, message: "PROGRESS" },
    });
  }, LIMIT_MS);

  test("is stopped where it runs, and never runs where it waits", async () => {
    const busy = await logged(
      /tasks\.sleep\S+ received/,
      2,
      () => Promise.all([submit("tasks.sleep", [40]), submit("tasks.sleep", [41])]),
    );
    for (const id of busy) {
      await until(async () => (await shown(id)).state === "running", "both to run");
    }
    // Two are held by the worker, and two lie in its queue.
    const waiting = await Promise.all([1, 2, 3, 4].map((x) => submit("tasks.add", [x, 0])));
    const remove = (id: string) => fetch(`${front.url}/jobs/${id}`, { method: "DELETE" });
    for (const id of waiting) expect((await (await remove(id)).json()).state).toBe("cancelled");
    for (const id of busy) expect((await remove(id)).status).toBe(202);
    for (const id of busy) {
      const job = await ended(id);
      expect(job).toMatchObject({ state: "cancelled", attempts: [{ outcome: "cancelled" }] });
    }
    expect((await ended(await submit("tasks.add", [1, 2]))).result).toBe(3);
    for (const id of waiting) expect((await shown(id))["startedAt"]).toBeUndefined();
    for (const id of waiting.slice(2)) expect(worker.log).not.toContain(`${id}] succeeded`);
  }, LIMIT_MS);

  test("is refused at once for a queue that is not there, which stays so", async () => {
    for (const query of ["", "?delay=1h", "?unique=k"]) {
      const path = `${front.url}/tasks/nowhere.x/jobs${query}`;
      const response = await fetch(path, { method: "POST", body: "[]" });
      expect([response.status, (await problem(response)).kind]).toEqual([404, "unknown-queue"]);
    }
    expect(rabbit.ctl("list_queues", "-p", "beside", "name")).not.toContain("nowhere");
  }, LIMIT_MS);

  test("comes from a schedule, and with many others", async () => {
    await fetch(`${front.url}/schedules/sum/run`, { method: "POST" });
    const jobs = [{ task: "tasks.add", input: [1, 1] }, { task: "tasks.add", input: [2, 2] }];
    const response = await fetch(`${front.url}/jobs`, {
      method: "POST",
      body: JSON.stringify(jobs),
    });
    const accepted: { id: string }[] = await response.json();
    const results = await Promise.all(accepted.map(async ({ id }) => (await ended(id)).result));
    expect(results).toEqual([2, 4]);
    await until(async () => {
      const jobs: ShownJob[] = await (await fetch(`${front.url}/jobs?task=tasks.tsum`)).json();
      return jobs.some(({ state }) => state === "succeeded");
    }, "the schedule's job");
  }, LIMIT_MS);
});

test(
  "a job that a killed Celery worker ran is lost, or runs again where it acks late",
  async () => {
    // It learns from the recorder what was cancelled while it was not there.
    await using next = await startCeleryWorker({
      url,
      queues: ["doomed"],
      meets: true,
      settings: { result_compression: "gzip" },
    });
    expect(await ended(left.late)).toMatchObject({ state: "succeeded", result: 0.5 });
    expect(await ended(left.early)).toMatchObject({ state: "failed", error: { type: "NoResult" } });
    await next.logged(new RegExp(`Discarding revoked task: tasks\\.add\\[${left.cancelled}`));
    expect((await shown(left.cancelled)).state).toBe("cancelled");
  },
  LIMIT_MS,
);

test("a job whose task keeps its result to itself succeeds by the worker's events", async () => {
  const job = await ended(silent);
  expect(job).toMatchObject({ state: "succeeded", node: worker.name });
  expect(job["result"]).toBeUndefined();
}, LIMIT_MS);

test("tasks of ours share a queue with Celery's, and ask for Celery's", async () => {
  const folder = temporaryFolder();
  writeFileSync(
    join(folder.path, "tasks.ts"),
    `import { enqueue, task } from "coxswain";
     task("ours.relay", { queue: "celery" }, (x: number) => enqueue("tasks.echo", [x]));`,
  );
  const routes = JSON.stringify({ "tasks.*": "celery" });
  await using _ours = await startNode([
    "work",
    ...["--amqp-url", url, "--tasks", folder.path, "--no-demo", "--routes", routes],
  ]);
  await until(async () => {
    const known: { name: string }[] = await (await fetch(`${front.url}/tasks`)).json();
    return known.some(({ name }) => name === "ours.relay");
  }, "the front to know our task");
  // Whichever worker takes one, all are run by the one that has it.
  const relayed = await Promise.all(
    [0, 1, 2, 3, 4, 5].map(async (x) => {
      const response = await front.call("ours.relay", [x]);
      expect(response.status).toBe(200);
      return (await ended(await response.json())).result;
    }),
  );
  expect(relayed).toEqual(
    [0, 1, 2, 3, 4, 5].map((x) =>
      expect.objectContaining({ args: [x], parent: expect.any(String) })
    ),
  );
  const job = await ended(await submit("ours.relay", [7], "?retries=9"));
  expect(job.state).toBe("succeeded");
  folder.remove();
}, LIMIT_MS);

/** Waits for so many lines of the worker's log from now on, after what is done meanwhile. */
async function logged<T>(pattern: RegExp, count: number, doing: () => T): Promise<T> {
  const from = worker.log.length;
  const done = doing();
  const isThere = () =>
    (worker.log.slice(from).match(new RegExp(pattern, "g")) ?? []).length >= count;
  await until(isThere, `${count} of ${pattern} in the log:\n${worker.log.slice(from)}`);
  return done;
}
