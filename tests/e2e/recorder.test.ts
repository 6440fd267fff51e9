/** Job records as operators live with them: restarts, kills, second fronts, shared stores. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Postgres, startPostgres } from "../../scripts/services/postgres.ts";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";

const folder = temporaryFolder();
let rabbit: RabbitMq;

beforeAll(async () => {
  // RabbitMQ negotiates the lower of both sides' heartbeats; it misses two or three of them.
  rabbit = await startRabbitMq({ config: ["heartbeat = 3"] });
}, 60_000);
afterAll(async () => {
  await rabbit.dispose();
  folder.remove();
}, 60_000);

/** A folder with a task that notes each of its runs in a file, a line each. */
function place(name: string): { readonly path: string; readonly lines: () => readonly string[] } {
  const path = join(folder.path, name);
  mkdirSync(path, { recursive: true });
  const ledger = join(path, "ledger");
  writeFileSync(
    join(path, "tasks.ts"),
    `import { appendFileSync } from "node:fs";
     import { context, every, task } from "coxswain";
     task("note", { queue: "notes" }, (text: string) => {
       appendFileSync(${JSON.stringify(ledger)},
         [text, context.id, context.attempt, context.redelivered].join(" ") + "\\n");
     });
     every("1s", "note", ["tick"], { name: "tick" });`,
  );
  appendFileSync(ledger, "");
  const lines = () => readFileSync(ledger, "utf8").split("\n").filter((line) => line !== "");
  return { path, lines };
}

const serve = (...args: string[]) => ["serve", "--port", "0", "--amqp-url", rabbit.url, ...args];
const work = (path: string) => [
  "work",
  "--amqp-url",
  rabbit.url,
  "--no-demo",
  "--tasks",
  join(path, "tasks.ts"),
];

interface Listed {
  readonly id: string;
  readonly state: string;
  readonly attempt: number;
}

async function read<T>(front: App, path: string): Promise<T> {
  const response = await fetch(`${front.url}${path}`);
  if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
  return await response.json();
}

async function known(front: App, task: string): Promise<void> {
  await until(
    async () => (await read<{ name: string }[]>(front, "/tasks")).some(({ name }) => name === task),
    `the front to know ${task}`,
  );
}

/** Accepts many jobs at once, and tells their ids. */
async function accept(
  front: App,
  texts: readonly string[],
  options: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  const ids: string[] = [];
  for (let start = 0; start < texts.length; start += 1_000) {
    const response = await fetch(`${front.url}/jobs`, {
      method: "POST",
      body: JSON.stringify(
        texts.slice(start, start + 1_000).map((text) => ({
          task: "note",
          input: [text],
          ...options,
        })),
      ),
    });
    const answers: { readonly id?: string }[] = await response.json();
    ids.push(...answers.flatMap(({ id }) => id ?? []));
  }
  return ids;
}

const job = (front: App, id: string, query = "") => read<Listed>(front, `/jobs/${id}${query}`);
interface Facts {
  readonly recorder: { readonly state: string; readonly isLeading: boolean };
  readonly jobEvents: { readonly readers: number };
  readonly warnings?: readonly string[];
}

/** Also of a front that is not ready yet. */
const health = async (front: App): Promise<Facts> =>
  await (await fetch(`${front.url}/readyz`)).json();
const recorder = async (front: App) => (await health(front)).recorder;
const numbered = (count: number, name = "n") =>
  Array.from({ length: count }, (_, n) => `${name}-${n}`);
const without = (lines: readonly string[], text: string) =>
  lines.filter((line) => !line.startsWith(text));

describe("with SQLite", () => {
  test("a second front is refused at once, unless it keeps no records", async () => {
    const { path } = place("second");
    await using first = await startNode(serve("--data", join(path, "data"), "--node-id", "first"));
    const startedAt = performance.now();
    const { code, log } = await runApp(serve());
    expect(code).not.toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(log).toContain('node \\\\\\"first\\\\\\" keeps');
    expect(log).toContain("--store postgres://");
    expect(log).toContain("--no-recorder");
    await using other = await startNode(serve("--no-recorder"));
    expect((await health(other)).jobEvents.readers).toBe(1);
    expect((await recorder(first)).state).toBe("recording");
  });

  test("a killed front is succeeded at once, and no delayed job is lost", async () => {
    const { path, lines } = place("killed");
    const args = serve("--data", join(path, "data"));
    const first = await startNode(args);
    await using _worker = await startNode(work(path));
    await known(first, "note");
    const late = await accept(first, numbered(2_000), { delay: "2s" });
    expect(late).toHaveLength(2_000);
    // The second that the record of one is there, all events before it are recorded too.
    await until(
      async () => (await job(first, late.at(-1) ?? "")).state === "scheduled",
      "the last to be recorded",
    );
    first.signal("SIGKILL");
    await first[Symbol.asyncDispose]();
    await using second = await startNode(args);
    await until(
      () => without(lines(), "tick").length >= 2_000,
      "all delayed jobs to run",
      60_000,
    );
    const texts = without(lines(), "tick").map((line) => line.split(" ")[0]);
    expect(new Set(texts).size).toBe(2_000);
    expect(new Set(without(lines(), "tick")).size).toBe(without(lines(), "tick").length);
    for (const id of [late[0], late.at(-1)]) {
      await until(async () => (await job(second, id ?? "")).state === "succeeded", "the record");
    }
  }, 120_000);

  test("a front that is cut off is succeeded once the broker has noticed", async () => {
    const { path } = place("cut-off");
    await using first = await startNode(serve("--data", join(path, "one")));
    first.signal("SIGSTOP");
    const startedAt = performance.now();
    // It starts and serves, and waits for its place.
    await using second = await startNode(serve("--data", join(path, "two")));
    await until(async () => (await recorder(second)).state === "recording", "the place", 30_000);
    // Three heartbeats of 3 s. With those of 20 s that are asked for it is a minute.
    expect(performance.now() - startedAt).toBeLessThan(15_000);
    first.signal("SIGCONT");
    // It finds its place taken, and ends.
    expect(await first.exited()).not.toBe(0);
    expect(first.log).toContain("--no-recorder");
    expect((await recorder(second)).state).toBe("recording");
  }, 60_000);

  test("after a restart of RabbitMQ records are kept again, delays too", async () => {
    const { path, lines } = place("restart");
    await using front = await startNode(serve("--data", join(path, "data")));
    await using _worker = await startNode(work(path));
    await known(front, "note");
    const delayed = await accept(front, numbered(50, "delayed"), { delay: "4s" });
    const queued = await accept(front, numbered(200));
    await rabbit.stop();
    await rabbit.start();
    const startedAt = performance.now();
    await until(async () => (await recorder(front)).state === "recording", "records to be kept");
    // The program promises 5 s.
    expect(performance.now() - startedAt).toBeLessThan(25_000);
    for (const id of [...queued, ...delayed]) {
      expect((await job(front, id, "?wait=20s")).state).toBe("succeeded");
    }
    const texts = without(lines(), "tick").map((line) => line.split(" ")[0]);
    expect(new Set(texts).size).toBe(250);
  }, 90_000);

  test("a worker can keep the records, and a front without them says what it cannot", async () => {
    const { path } = place("worker");
    await using front = await startNode(serve("--no-recorder"));
    expect((await health(front)).warnings).toEqual([
      expect.stringContaining('No recorder reads the queue "cox.recorder"'),
    ]);
    await using _worker = await startNode([
      ...work(path),
      "--recorder",
      "--data",
      join(path, "data"),
    ]);
    await known(front, "note");
    const [id] = await accept(front, ["x"], { delay: "200ms" });
    await until(
      () => existsSync(join(path, "data", "jobs.sqlite")),
      "the records in the worker's folder",
    );
    expect((await fetch(`${front.url}/jobs/${id}`)).status).not.toBe(404);
    const keyed = await fetch(`${front.url}/tasks/note/jobs`, {
      method: "POST",
      headers: { "Idempotency-Key": "k" },
      body: '["x"]',
    });
    expect(keyed.status).toBe(503);
  });

  test("10,000 delayed jobs outlive a kill of the one process that has everything", async () => {
    const { path, lines } = place("all");
    const args = ["all", "--port", "0", "--data", join(path, "data"), "--no-demo", "--tasks"];
    const first = await startNode([...args, join(path, "tasks.ts")]);
    const ids = await accept(first, numbered(10_000), { delay: "3s" });
    expect(ids).toHaveLength(10_000);
    first.signal("SIGKILL");
    await first[Symbol.asyncDispose]();
    await using second = await startNode([...args, join(path, "tasks.ts")]);
    await until(
      () => without(lines(), "tick").length >= 10_000,
      "all delayed jobs to run",
      90_000,
    );
    const ran = without(lines(), "tick");
    expect(new Set(ran.map((line) => line.split(" ")[0])).size).toBe(10_000);
    expect(new Set(ran).size).toBe(ran.length);
    await until(
      async () => (await job(second, ids.at(-1) ?? "")).state === "succeeded",
      "the last record",
      30_000,
    );
  }, 180_000);
});

describe("with PostgreSQL", () => {
  let postgres: Postgres;

  beforeAll(async () => {
    postgres = await startPostgres();
  }, 60_000);
  afterAll(() => postgres.dispose(), 60_000);

  const shared = (...args: string[]) => startNode(serve("--store", postgres.url, ...args));

  test("two fronts share the records, and a schedule fires once each second", async () => {
    const { path, lines } = place("shared");
    await using one = await shared();
    await using two = await shared();
    await using _worker = await startNode(work(path));
    await known(one, "note");
    await known(two, "note");
    const [id = ""] = await accept(one, ["x"], { delay: "300ms" });
    expect(await job(two, id, "?wait=10s")).toMatchObject({ state: "succeeded" });
    const ticks = () => lines().filter((line) => line.startsWith("tick"));
    const [before, from] = [ticks().length, Date.now()];
    await until(() => ticks().length >= before + 5, "five more firings");
    const seconds = (Date.now() - from) / 1_000;
    expect(ticks().length - before).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
    expect([(await recorder(one)).isLeading, (await recorder(two)).isLeading].toSorted())
      .toEqual([false, true]);
    const schedules = await read<{ name: string; state: string }[]>(two, "/schedules");
    expect(schedules).toMatchObject([{ name: "tick", state: "active" }]);
    await fetch(`${two.url}/schedules/tick/pause`, { method: "POST" });
  }, 60_000);

  test("when the one that publishes is killed another one does, and nothing is lost", async () => {
    const { path, lines } = place("leader");
    await using one = await shared();
    await until(async () => (await recorder(one)).isLeading, "the first to lead", 30_000);
    await using two = await shared();
    await using _worker = await startNode(work(path));
    await known(one, "note");
    const ids = await accept(one, numbered(500), { delay: "3s" });
    one.signal("SIGKILL");
    await until(
      () => without(lines(), "tick").length >= ids.length,
      "all delayed jobs to run",
      40_000,
    );
    const ran = without(lines(), "tick");
    expect(new Set(ran.map((line) => line.split(" ")[0])).size).toBe(ids.length);
    expect((await recorder(two)).isLeading).toBe(true);
  }, 90_000);

  test("while it is away jobs are accepted and run, and are recorded when it is back", async () => {
    const { path, lines } = place("away");
    await using front = await shared();
    await using _worker = await startNode(work(path));
    await known(front, "note");
    await postgres.stop();
    const ids = await accept(front, numbered(200));
    expect(ids).toHaveLength(200);
    await until(() => without(lines(), "tick").length >= 200, "all to run");
    await until(
      async () => (await health(front)).warnings?.join().includes("not recorded now") ?? false,
      "health to say so",
    );
    await postgres.start();
    await until(
      async () =>
        (await Promise.all(ids.map(async (id) => (await job(front, id)).state)))
          .every((state) => state === "succeeded"),
      "all to be recorded",
      30_000,
    );
  }, 90_000);
});
