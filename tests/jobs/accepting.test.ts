import { describe, expect, test } from "bun:test";
import { RECORDER_QUEUE } from "../../src/broker/topology.ts";
import { newId } from "../../src/platform/ids.ts";
import { problemOf } from "../http/front.ts";
import { until } from "../support/waiting.ts";
import { FrontScene, QUEUE, REMEMBERED } from "./front_scene.ts";

const LIMIT_MS = 20_000;
const POST = "/tasks/remembered/jobs";

describe("POST /tasks/{task}/jobs", () => {
  test("answers 202 with the job and where it is, and the job can be read at once", async () => {
    await using scene = await FrontScene.open();
    const response = await scene.post(POST, [1, 2]);
    expect(response.status).toBe(202);
    const accepted = await response.json();
    expect(response.headers.get("location")).toBe(`/jobs/${accepted.id}`);
    expect(accepted).toEqual({
      id: accepted.id,
      task: "remembered",
      state: "queued",
      createdAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    });
    expect(await scene.shown(accepted.id)).toEqual({
      id: accepted.id,
      task: "remembered",
      queue: QUEUE,
      state: "queued",
      attempt: 1,
      createdAt: accepted.createdAt,
      input: [1, 2],
      attempts: [],
    });
    expect(await scene.depth()).toBe(1);
    await until("it is recorded", async () => await scene.store.get(accepted.id) !== undefined);
  }, LIMIT_MS);

  test("runs the job where there is a worker, and the record has its result", async () => {
    await using scene = await FrontScene.open({ works: true });
    const id = await scene.submit("obedient", [{ return: { ok: true } }]);
    const job = await scene.shown(id, "?wait=10s");
    expect(job).toMatchObject({ id, state: "succeeded", attempt: 1, result: { ok: true } });
    expect(job["finishedAt"]).toBeString();
  }, LIMIT_MS);

  test("tells a task that nobody ever served, and accepts nothing", async () => {
    await using scene = await FrontScene.open();
    const problem = await problemOf(await scene.post("/tasks/nobodys/jobs", 1));
    expect(problem).toMatchObject({ status: 404, type: "/problems/unknown-task" });
  }, LIMIT_MS);

  test("tells what is wrong with its options", async () => {
    await using scene = await FrontScene.open();
    const tell = async (query: string, headers = {}) =>
      (await problemOf(await scene.post(`${POST}${query}`, 1, headers))).detail;
    expect(await tell("?dely=3s")).toStartWith('Unknown option "dely": there are delay, eta,');
    expect(await tell("?delay=soon")).toContain('Option "delay" is "soon"');
    expect(await tell("?delay=3s&eta=2030-01-01T00:00:00Z")).toContain("exclude each other");
    expect(await tell("", { "idempotency-key": "k".repeat(256) })).toContain("1 to 255");
    expect(await scene.depth()).toBe(0);
  }, LIMIT_MS);

  test("declares a queue that was deleted as its worker would", async () => {
    await using scene = await FrontScene.open();
    await scene.broker.deleteQueue(QUEUE);
    const ids = await Promise.all([1, 2, 3].map((n) => scene.submit("remembered", n)));
    expect(new Set(ids).size).toBe(3);
    expect(await scene.depth()).toBe(3);
  }, LIMIT_MS);

  test("is 503 while the broker cannot be had, and accepts nothing", async () => {
    await using scene = await FrontScene.open();
    await scene.broker.stop();
    const response = await scene.post(POST, 1);
    expect(response.headers.get("retry-after")).toBe("2");
    expect(await problemOf(response)).toMatchObject({ status: 503, type: "/problems/broker-away" });
  }, LIMIT_MS);

  test("is 429 past the jobs that may be on their way at once", async () => {
    await using scene = await FrontScene.open({ maxUnderway: 2 });
    const responses = await Promise.all([1, 2, 3, 4].map((n) => scene.post(POST, n)));
    const statuses = responses.map(({ status }) => status).toSorted();
    expect(statuses).toEqual([202, 202, 429, 429]);
    expect(await scene.depth()).toBe(2);
    expect(scene.jobs.acceptor.underway).toBe(0);
  }, LIMIT_MS);
});

describe("delays", () => {
  test("a delayed job waits in the store, where a recorder is", async () => {
    await using scene = await FrontScene.open();
    const id = await scene.submit("remembered", 1, "?delay=1h");
    await until("it is recorded", async () => await scene.store.get(id) !== undefined);
    const job = await scene.shown(id);
    expect(job.state).toBe("scheduled");
    expect(job["dueAt"]).toBe(job["eta"]);
    expect(await scene.depth()).toBe(0);
    expect((await scene.store.due(Date.now() + 7_200_000, 10)).map((due) => due.id)).toEqual([id]);
  }, LIMIT_MS);

  test("without a recorder a delayed job is published at once, for a worker to hold", async () => {
    await using scene = await FrontScene.open({ records: false });
    await scene.submit("remembered", 1, "?eta=2031-01-01T00:00:00Z");
    expect(await scene.depth()).toBe(1);
    const consumer = await scene.broker.consume(QUEUE, { prefetch: 1 });
    for await (const { message } of consumer) {
      expect(message.properties.headers?.["eta"]).toBe("2031-01-01T00:00:00.000+00:00");
      break;
    }
    expect((await scene.broker.inspectQueue(RECORDER_QUEUE.name))?.messages).toBe(1);
  }, LIMIT_MS);
});

describe("keys", () => {
  test(
    "the same idempotency key and request is the same job, another request a conflict",
    async () => {
      await using scene = await FrontScene.open();
      const headers = { "idempotency-key": "order-7" };
      const first = await (await scene.post(`${POST}?priority=3&retries=1`, [1], headers)).json();
      const again = await scene.post(`${POST}?retries=1&priority=3`, [1], headers);
      expect(again.status).toBe(202);
      expect(again.headers.get("location")).toBe(`/jobs/${first.id}`);
      expect(await again.json()).toMatchObject({ id: first.id, existing: "idempotency" });
      for (
        const [query, input] of [["?priority=4&retries=1", [1]], ["?priority=3&retries=1", [2]]]
      ) {
        const problem = await problemOf(await scene.post(`${POST}${query}`, input, headers));
        expect(problem).toMatchObject({
          status: 409,
          type: "/problems/idempotency-conflict",
          id: first.id,
        });
      }
      expect(await scene.depth()).toBe(1);
    },
    LIMIT_MS,
  );

  test("many at once with one idempotency key are one job", async () => {
    await using scene = await FrontScene.open();
    const headers = { "idempotency-key": "once" };
    const answers = await Promise.all(
      Array.from({ length: 50 }, async () => (await scene.post(POST, [1], headers)).json()),
    );
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
    expect(await scene.depth()).toBe(1);
  }, LIMIT_MS);

  test("a unique key has one unfinished job, and a new one once that has ended", async () => {
    await using scene = await FrontScene.open({ works: true });
    const submit = (order: object) => scene.submit("obedient", [order], "?unique=report");
    const first = await submit({ sleep: 300 });
    expect(await submit({ return: 1 })).toBe(first);
    await scene.shown(first, "?wait=10s");
    await until("its end is recorded", async () => {
      return (await scene.store.get(first))?.state === "succeeded";
    });
    expect(await submit({ return: 2 })).not.toBe(first);
  }, LIMIT_MS);

  test("a job with a key is in the store as published before it is answered", async () => {
    await using scene = await FrontScene.open();
    const id = await scene.submit("remembered", 1, "?unique=a");
    await until("its message is told of", async () => (await scene.shown(id)).state === "queued");
    expect(await scene.depth()).toBe(1);
  }, LIMIT_MS);

  test("keys need a store: 503 where there is none, or it is away", async () => {
    await using without = await FrontScene.open({ keeps: false });
    const refused = await problemOf(await without.post(`${POST}?unique=a`, 1));
    expect(refused).toMatchObject({ status: 503, type: "/problems/no-job-records" });
    expect(refused.detail).toContain("--no-recorder");
    await using scene = await FrontScene.open({ records: false });
    await scene.store.close();
    const response = await scene.post(POST, 1, { "idempotency-key": "k" });
    expect(response.headers.get("retry-after")).toBe("2");
    expect(await problemOf(response)).toMatchObject({ status: 503, type: "/problems/store-away" });
    expect(await scene.depth()).toBe(0);
    expect((await scene.post(POST, 1)).status).toBe(202);
  }, LIMIT_MS);
});

describe("POST /jobs", () => {
  test("accepts a thousand, and answers each in order", async () => {
    await using scene = await FrontScene.open();
    const asked = Array.from({ length: 1_000 }, (_, n) => ({ task: "remembered", input: [n] }));
    const response = await scene.post("/jobs", asked);
    expect(response.status).toBe(202);
    const answers: { id: string }[] = await response.json();
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1_000);
    expect(await scene.depth()).toBe(1_000);
    expect((await scene.shown(answers[777]?.id ?? ""))["input"]).toEqual([777]);
  }, LIMIT_MS);

  test("one that cannot be accepted sinks no other", async () => {
    await using scene = await FrontScene.open();
    const response = await scene.post("/jobs?priority=2", [
      { task: "remembered", input: { a: 1.0 } },
      { task: "nobodys" },
      { task: "remembered", delay: "never" },
      "what",
      { task: "remembered", idempotencyKey: "k", input: 1 },
      { task: "remembered", idempotencyKey: "k", input: 1 },
      { task: "remembered", idempotencyKey: "k", input: 2 },
    ]);
    expect(response.status).toBe(202);
    const answers = await response.json();
    expect(answers.map((answer: { error?: { status: number } }) => answer.error?.status)).toEqual(
      [undefined, 404, 400, 400, undefined, undefined, 409],
    );
    expect(answers[5].id).toBe(answers[4].id);
    expect(await scene.shown(answers[0].id)).toMatchObject({ input: { a: 1 }, priority: 2 });
  }, LIMIT_MS);

  test("a key for the whole array makes a repeated request the same jobs", async () => {
    await using scene = await FrontScene.open();
    const asked = [{ task: "remembered", input: 1 }, { task: "remembered", input: 1 }];
    const send = async () =>
      await (await scene.post("/jobs", asked, { "idempotency-key": "batch" })).json();
    const first = await send();
    const again = await send();
    expect(first[0].id).not.toBe(first[1].id);
    expect(again.map(({ id }: { id: string }) => id)).toEqual([first[0].id, first[1].id]);
  }, LIMIT_MS);

  test("refuses what is no array, or too long a one, and is 503 without a broker", async () => {
    await using scene = await FrontScene.open();
    const status = async (body: unknown) => (await scene.post("/jobs", body)).status;
    expect(await status({})).toBe(400);
    expect(await status(Array.from({ length: 1_001 }, () => ({})))).toBe(400);
    expect(await status([])).toBe(202);
    await scene.broker.stop();
    expect(await status([{ task: "remembered" }])).toBe(503);
  }, LIMIT_MS);
});

describe("GET /jobs/{id}", () => {
  test("answers from memory while the record is not there", async () => {
    await using scene = await FrontScene.open({ records: false });
    const id = await scene.submit("remembered", ["x".repeat(5_000)]);
    const job = await scene.shown(id);
    expect(job.state).toBe("queued");
    expect(job["input"]).toBeUndefined();
  }, LIMIT_MS);

  test("waits a moment for a young job that another front accepted", async () => {
    await using scene = await FrontScene.open();
    const id = newId();
    const asked = scene.get(`/jobs/${id}`);
    await scene.store.recordEvents([{
      kind: "accepted",
      id,
      task: "other",
      queue: "other",
      createdAt: Date.now(),
      attempt: 1,
      seq: 1,
      at: Date.now(),
      request: { terms: {}, payload: { input: { argsJson: "[]", kwargsJson: "{}" }, headers: {} } },
    }]);
    expect((await asked).status).toBe(200);
  }, LIMIT_MS);

  test("is 404 for a job that is not there, at once where it cannot be young", async () => {
    await using scene = await FrontScene.open();
    for (const id of ["nonsense", "018f0000-0000-7000-8000-000000000000", "x".repeat(300)]) {
      const startedAt = performance.now();
      const problem = await problemOf(await scene.get(`/jobs/${id}`));
      expect(problem).toMatchObject({ status: 404, type: "/problems/unknown-job" });
      expect(performance.now() - startedAt).toBeLessThan(500);
    }
    expect((await scene.get(`/jobs/${newId()}`)).status).toBe(404);
  }, LIMIT_MS);

  test("says that this front keeps no records where it does not", async () => {
    await using scene = await FrontScene.open({ keeps: false });
    const problem = await problemOf(await scene.get(`/jobs/${newId()}`));
    expect(problem).toMatchObject({ status: 503, type: "/problems/no-job-records" });
  }, LIMIT_MS);

  test("hides what the task wants hidden", async () => {
    const redact = { input: true, result: true };
    await using scene = await FrontScene.open({ tasks: [{ ...REMEMBERED, redact }] });
    const id = await scene.submit("remembered", ["secret"]);
    const job = await scene.shown(id);
    expect(job["redacted"]).toEqual(["input", "result"]);
    expect(JSON.stringify(job)).not.toContain("secret");
  }, LIMIT_MS);
});

describe("enqueue", () => {
  test("a task accepts further jobs, which know whom they come from", async () => {
    await using scene = await FrontScene.open({ works: true });
    const parent = await scene.submit("obedient", [{
      enqueue: "obedient",
      input: [{ return: "child" }],
      options: { priority: 2, headers: { "X-From": "parent" } },
    }]);
    const child = String((await scene.shown(parent, "?wait=10s"))["result"]);
    expect(await scene.shown(child, "?wait=10s")).toMatchObject({
      state: "succeeded",
      result: "child",
      priority: 2,
      parentId: parent,
      rootId: parent,
    });
  }, LIMIT_MS);

  test("a task is told why a job was not accepted", async () => {
    await using scene = await FrontScene.open({ works: true });
    const refused = async (order: object) => {
      const id = await scene.submit("obedient", [order], "?retries=0");
      return (await scene.shown(id, "?wait=10s"))["error"];
    };
    expect(await refused({ enqueue: "nobodys", input: [] })).toMatchObject({ type: "UnknownTask" });
    const bad = { enqueue: "obedient", input: [], options: { priority: 11 } };
    expect(await refused(bad)).toMatchObject({
      type: "BadOption",
      message: expect.stringContaining('"priority" is 11'),
    });
  }, LIMIT_MS);
});
