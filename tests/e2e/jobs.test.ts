/** Jobs as clients use them: the executable on the broker inside it and on RabbitMQ. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openConnection } from "../../scripts/bench/http_client.ts";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";

const LIMIT_MS = 60_000;
const folder = temporaryFolder();
afterAll(() => folder.remove());

const TASKS = `
import { appendFileSync, existsSync } from "node:fs";
import { context, enqueue, task } from "coxswain";

const tell = (name) =>
  appendFileSync(process.env.NOTES, name + " " + context.id + " " + context.attempt + "\\n");
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

task("note", async (name, ms = 0) => {
  tell(name);
  await pause(ms);
  return { name };
});
task("steps", async (count, ms) => {
  for (let step = 1; step <= count; step++) {
    context.progress(step / count, "step " + step);
    await pause(ms);
  }
  return count;
});
task("breaks", { retry: { limit: 2, base: "50ms" } }, (name) => {
  tell(name);
  if (!existsSync(process.env.NOTES + "." + name)) throw new TypeError("not " + name);
  return name;
});
task("secret", { redact: { input: true, result: true } }, (word) => word.toUpperCase());
task("hangs", async () => {
  tell("hangs");
  await pause(60_000);
});
task("fans", async (count) => {
  const ids = [];
  for (let n = 0; n < count; n++) ids.push(await enqueue("note", ["child"]));
  return ids;
});
`;

interface Job {
  readonly id: string;
  readonly state: string;
  readonly attempt: number;
  readonly [member: string]: unknown;
}

/** A folder with tasks, and what they have told. */
class Notes {
  readonly home: string;
  readonly path: string;

  constructor(name: string) {
    this.home = join(folder.path, name);
    mkdirSync(this.home);
    this.path = join(this.home, "notes");
    writeFileSync(join(this.home, "tasks.ts"), TASKS);
  }

  of(name: string): readonly string[] {
    if (!existsSync(this.path)) return [];
    return readFileSync(this.path, "utf8").split("\n").filter((line) =>
      line.startsWith(`${name} `)
    );
  }

  /** From now on the task "breaks" does what it was to do. */
  mend(name: string): void {
    writeFileSync(`${this.path}.${name}`, "");
  }

  start(args: readonly string[]): Promise<App> {
    return startNode(args, {
      cwd: this.home,
      env: { NOTES: this.path },
    });
  }
}

class Client {
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, { method: "POST", body: JSON.stringify(body), headers });
  }

  async submit(task: string, input: unknown, query = ""): Promise<string> {
    const response = await this.post(`/tasks/${task}/jobs${query}`, input);
    const accepted = await response.json();
    expect([response.status, accepted.detail]).toEqual([202, undefined]);
    expect(response.headers.get("location")).toBe(`/jobs/${accepted.id}`);
    return accepted.id;
  }

  async job(id: string, query = ""): Promise<Job> {
    return await (await fetch(`${this.url}/jobs/${id}${query}`)).json();
  }

  /** The job when it has ended. */
  ended(id: string): Promise<Job> {
    return this.job(id, "?wait=40s");
  }

  async reaches(id: string, state: string): Promise<void> {
    await until(async () => (await this.job(id)).state === state, `job ${id} ${state}`);
  }
}

interface Stage {
  readonly client: Client;
  readonly notes: Notes;
}

/** What holds on either broker. */
function stories(stage: () => Stage): void {
  test("202 and an id, then the result", async () => {
    const { client } = stage();
    const id = await client.submit("note", ["first"]);
    const job = await client.ended(id);
    expect(job).toMatchObject({
      id,
      task: "note",
      state: "succeeded",
      attempt: 1,
      result: { name: "first" },
      input: ["first"],
    });
    const at = (name: string) => Date.parse(String(job[name]));
    expect(at("createdAt")).toBeLessThanOrEqual(at("finishedAt"));
  }, LIMIT_MS);

  test("a wait ends with the present record, or as soon as the job has", async () => {
    const { client } = stage();
    const id = await client.submit("note", ["slow", 1_500]);
    expect(["queued", "running"]).toContain((await client.job(id, "?wait=200ms")).state);
    const startedAt = performance.now();
    expect((await client.ended(id)).state).toBe("succeeded");
    expect(performance.now() - startedAt).toBeLessThan(7_500);
  }, LIMIT_MS);

  test("an event stream goes on after a lost connection, to the end", async () => {
    const { client } = stage();
    const id = await client.submit("steps", [6, 400]);
    await client.reaches(id, "running");
    const first = new AbortController();
    const seen: { id: string; event: string; data: Record<string, unknown> }[] = [];
    const read = async (lastId: string | undefined, signal?: AbortSignal): Promise<number> => {
      const response = await fetch(`${client.url}/jobs/${id}/events`, {
        headers: lastId === undefined ? {} : { "last-event-id": lastId },
        ...(signal === undefined ? {} : { signal }),
      });
      let text = "";
      const decoder = new TextDecoder();
      try {
        for await (const chunk of response.body ?? []) {
          text += decoder.decode(chunk, { stream: true });
          const blocks = text.split("\n\n");
          text = blocks.pop() ?? "";
          for (const block of blocks) {
            const [, eventId = "", event = "", data = ""] =
              /^id: (.+)\nevent: (.+)\ndata: (.+)$/.exec(block) ?? [];
            if (data === "") continue;
            seen.push({ id: eventId, event, data: JSON.parse(data) });
            if (signal !== undefined && event === "progress") first.abort();
          }
        }
      } catch (error) {
        if (!first.signal.aborted) throw error;
      }
      return response.status;
    };
    await read(undefined, first.signal);
    const lost = seen.length;
    expect(lost).toBeGreaterThan(0);
    await read(seen.at(-1)?.id);
    expect(seen.length).toBeGreaterThan(lost);
    expect(seen.at(-1)).toMatchObject({ event: "state", data: { state: "succeeded", result: 6 } });
    expect(new Set(seen.map((one) => one.id)).size).toBe(seen.length);
    expect(await read(seen.at(-1)?.id)).toBe(204);
  }, LIMIT_MS);

  test("a thousand in one request all run, each once", async () => {
    const { client, notes } = stage();
    const asked = Array.from({ length: 1_000 }, () => ({ task: "note", input: ["bulk"] }));
    const response = await client.post("/jobs", asked);
    expect(response.status).toBe(202);
    const answers: { id: string }[] = await response.json();
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1_000);
    await until(() => notes.of("bulk").length >= 1_000, "a thousand notes", 40_000);
    expect(new Set(notes.of("bulk")).size).toBe(1_000);
    expect(notes.of("bulk")).toHaveLength(1_000);
    await client.ended(answers[999]?.id ?? "");
  }, LIMIT_MS);

  test("an idempotency key is one job, and another request with it a conflict", async () => {
    const { client, notes } = stage();
    const send = (input: unknown) =>
      client.post("/tasks/note/jobs", input, { "idempotency-key": "pay-7" });
    const first = await (await send(["paid"])).json();
    const again = await send(["paid"]);
    expect([again.status, (await again.json()).id]).toEqual([202, first.id]);
    expect((await send(["paid twice"])).status).toBe(409);
    await client.ended(first.id);
    expect(notes.of("paid")).toHaveLength(1);
  }, LIMIT_MS);

  test("a unique key has one unfinished job", async () => {
    const { client } = stage();
    const first = await client.submit("note", ["unique", 1_000], "?unique=report");
    expect(await client.submit("note", ["unique", 1_000], "?unique=report")).toBe(first);
    await client.ended(first);
    await until(async () => {
      return await client.submit("note", ["unique"], "?unique=report") !== first;
    }, "another job");
  }, LIMIT_MS);

  test("a delayed job starts when it is due", async () => {
    const { client } = stage();
    const id = await client.submit("note", ["delayed"], "?delay=1500ms");
    const job = await client.ended(id);
    const waited = Date.parse(String(job["finishedAt"])) - Date.parse(String(job["createdAt"]));
    expect(job.state).toBe("succeeded");
    expect(waited).toBeGreaterThanOrEqual(1_500);
    expect(waited).toBeLessThan(7_500);
  }, LIMIT_MS);

  test("cancel: delayed, running, finished", async () => {
    const { client, notes } = stage();
    const cancel = async (id: string) =>
      await (await fetch(`${client.url}/jobs/${id}`, { method: "DELETE" })).json();
    const delayed = await client.submit("note", ["never"], "?delay=1s");
    expect(await cancel(delayed)).toMatchObject({ did: "cancelled", state: "cancelled" });
    const running = await client.submit("hangs", []);
    await client.reaches(running, "running");
    expect((await cancel(running)).did).toBe("stopping");
    expect((await client.ended(running)).state).toBe("cancelled");
    const finished = await client.submit("note", ["done"]);
    await client.ended(finished);
    await client.reaches(finished, "succeeded");
    await until(async () => (await cancel(finished)).did === "nothing", "nothing to cancel");
    const later = await client.submit("note", ["later"], "?delay=1500ms");
    await client.ended(later);
    expect(notes.of("never")).toEqual([]);
  }, LIMIT_MS);

  test("dead letters are told with their stories, tried again and purged", async () => {
    const { client, notes } = stage();
    const listed = async (): Promise<readonly Job[]> =>
      await (await fetch(`${client.url}/dead-letters?task=breaks`)).json();
    const ids = [
      await client.submit("breaks", ["glass"]),
      await client.submit("breaks", ["wood"], "?retries=0"),
    ];
    const [glass = "", wood = ""] = ids;
    const failed = await client.ended(glass);
    expect(failed).toMatchObject({
      state: "failed",
      attempt: 3,
      error: { type: "TypeError", message: "not glass" },
    });
    expect(failed["attempts"]).toHaveLength(3);
    await until(async () => (await listed()).length === 2, "two dead letters");
    notes.mend("glass");
    const retried = await client.post(`/dead-letters/${glass}/retry`, "");
    expect(retried.status).toBe(202);
    await client.reaches(glass, "succeeded");
    expect((await client.job(glass)).attempt).toBe(4);
    await until(async () => {
      await fetch(`${client.url}/dead-letters/${wood}`, { method: "DELETE" });
      return (await listed()).length === 0;
    }, "no dead letters");
    expect((await fetch(`${client.url}/jobs/${wood}`)).status).toBe(404);
  }, LIMIT_MS);

  test("what a task wants hidden is shown to nobody", async () => {
    const { client } = stage();
    const id = await client.submit("secret", ["hush"]);
    const job = await client.ended(id);
    expect(job["redacted"]).toEqual(["input", "result"]);
    const shown = await runApp(["job", "get", id, "--url", client.url]);
    for (const text of [JSON.stringify(job), shown.output]) expect(text).not.toMatch(/hush/i);
  }, LIMIT_MS);

  test("a task enqueues further jobs, which are its children", async () => {
    const { client } = stage();
    const parent = await client.submit("fans", [3]);
    const { result } = await client.ended(parent);
    if (!Array.isArray(result)) throw new Error(`Not ids: ${JSON.stringify(result)}`);
    expect(result).toHaveLength(3);
    for (const id of result) {
      expect(await client.ended(String(id))).toMatchObject({
        state: "succeeded",
        parentId: parent,
      });
    }
  }, LIMIT_MS);

  test("the command line submits, shows, lists, cancels, retries and watches", async () => {
    const { client } = stage();
    const run = (...words: readonly string[]) =>
      runApp(["job", ...words, "--url", client.url], { cwd: stage().notes.home });
    const submitted = await run("submit", "steps", "[3,300]");
    expect(submitted.code).toBe(0);
    const id = submitted.output.trim();
    const watched = await run("watch", id);
    expect([watched.code, watched.output.trim().split("\n").at(-1)]).toEqual([0, "succeeded"]);
    const shown = await run("get", id, "--json");
    expect(JSON.parse(shown.output)).toMatchObject({ id, state: "succeeded", result: 3 });
    const waited = await run("submit", "note", '["cli"]', "--wait", "20s");
    expect([waited.code, waited.output]).toEqual([0, '{"name":"cli"}\n']);
    const list = await run("list", "--state", "succeeded", "--task", "steps", "--limit", "1");
    expect(list.output).toContain(id);
    expect(list.log).toMatch(/--cursor|^$/);
    const failed = await run("submit", "breaks", '["cli"]', "--retries", "0", "--wait", "20s");
    expect(failed.code).toBe(1);
    expect(failed.log).toContain("TypeError: not cli");
    const late = await run("submit", "note", '["late"]', "--delay", "1h", "--wait", "100ms");
    expect(late.code).toBe(4);
    const delayed = (await run("submit", "note", '["late"]', "--delay", "1h")).output.trim();
    expect((await run("cancel", delayed)).output).toContain("will not run");
    expect((await run("retry", delayed)).code).toBe(0);
    for (const words of [["get", "nonsense"], ["submit", "nobodys"], ["dance"], ["get"]]) {
      expect((await run(...words)).code).toBe(2);
    }
    expect((await runApp(["job", "list", "--url", "http://127.0.0.1:1"])).code).toBe(3);
  }, LIMIT_MS);
}

describe("on the broker inside the program", () => {
  const args = ["all", "--port", "0", "--isolates", "2", "--tasks", "tasks.ts"];
  let notes: Notes;
  let app: App;
  beforeAll(async () => {
    notes = new Notes("embedded");
    app = await notes.start(args);
  }, LIMIT_MS);
  afterAll(async () => await app[Symbol.asyncDispose]());

  stories(() => ({ notes, client: new Client(app.url) }));

  test("records, keys and delays outlive kill -9", async () => {
    const home = new Notes("killed");
    let id: string;
    let delayed: string;
    const send = async (client: Client) =>
      await (await client.post("/tasks/note/jobs", ["once"], { "idempotency-key": "k" })).json();
    {
      await using first = await home.start(args);
      const client = new Client(first.url);
      ({ id } = await send(client));
      await client.ended(id);
      await client.reaches(id, "succeeded");
      delayed = await client.submit("note", ["kept"], "?delay=2s");
      first.signal("SIGKILL");
      await first.exited();
    }
    await using second = await home.start(args);
    const client = new Client(second.url);
    expect((await send(client)).id).toBe(id);
    expect((await client.ended(delayed)).state).toBe("succeeded");
    expect(home.of("once")).toHaveLength(1);
    expect(home.of("kept")).toHaveLength(1);
  }, LIMIT_MS);

  test("100 clients at once are all answered within 3 s, and each job runs once", async () => {
    const home = new Notes("burst");
    await using burst = await home.start([...args, "--slots", "10"]);
    const connections = await Promise.all(
      Array.from(
        { length: 100 },
        () => openConnection(`${burst.url}/tasks/note/jobs`, '["burst",100]'),
      ),
    );
    let slowestMs = 0;
    let accepted = 0;
    await Promise.all(connections.map(async (connection) => {
      for (let n = 0; n < 30; n++) {
        const startedAt = performance.now();
        if (await connection.request()) accepted++;
        slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      }
      connection.close();
    }));
    expect(accepted).toBe(3_000);
    expect(slowestMs).toBeLessThan(3_000);
    await until(() => home.of("burst").length >= 3_000, "3,000 notes", 50_000);
    expect(new Set(home.of("burst")).size).toBe(3_000);
    expect(home.of("burst")).toHaveLength(3_000);
  }, 90_000);
});

describe("on RabbitMQ", () => {
  let rabbit: RabbitMq;
  let notes: Notes;
  let front: App;
  let worker: App;
  const workArgs = () => ["work", "--isolates", "2", "--tasks", "tasks.ts", ...broker()];
  const broker = () => ["--amqp-url", rabbit.url];
  beforeAll(async () => {
    rabbit = await startRabbitMq();
    notes = new Notes("rabbit");
    worker = await notes.start(workArgs());
    front = await notes.start(["serve", "--port", "0", ...broker()]);
  }, LIMIT_MS);
  afterAll(async () => {
    await front[Symbol.asyncDispose]();
    await worker[Symbol.asyncDispose]();
    await rabbit.dispose();
  }, LIMIT_MS);

  stories(() => ({ notes, client: new Client(front.url) }));

  test("cancelled with no worker alive: never run by one that starts later", async () => {
    const client = new Client(front.url);
    worker.signal("SIGTERM");
    expect(await worker.exited()).toBe(0);
    const cancelled = await client.submit("note", ["cancelled"]);
    const kept = await client.submit("note", ["not cancelled"]);
    const answer = await fetch(`${client.url}/jobs/${cancelled}`, { method: "DELETE" });
    expect((await answer.json()).did).toBe("cancelled");
    worker = await notes.start(workArgs());
    expect((await client.ended(kept)).state).toBe("succeeded");
    expect(notes.of("cancelled")).toEqual([]);
    expect((await client.job(cancelled)).state).toBe("cancelled");
  }, LIMIT_MS);

  test("while the broker is away 503 and nothing accepted; afterwards all as before", async () => {
    const client = new Client(front.url);
    await rabbit.stop();
    await until(
      async () => (await client.post("/tasks/note/jobs", ["away"])).status === 503,
      "503",
    );
    const response = await client.post("/tasks/note/jobs", ["away"]);
    expect(response.headers.get("retry-after")).toBe("2");
    expect((await response.json()).type).toBe("/problems/broker-away");
    const bulk = await client.post("/jobs", [{ task: "note", input: ["away"] }]);
    expect(bulk.status).toBe(503);
    await rabbit.start();
    await until(async () => {
      return (await client.post("/tasks/note/jobs", ["back"])).status === 202;
    }, "202");
    const id = await client.submit("note", ["back"]);
    expect((await client.ended(id)).state).toBe("succeeded");
    expect(notes.of("away")).toEqual([]);
  }, LIMIT_MS);
});
