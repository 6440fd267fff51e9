/** What a worker does with recorded jobs: outcomes before acks, retries, delays and dead letters. */
import { describe, expect, test } from "bun:test";
import { RECORDER_QUEUE } from "../../src/broker/topology.ts";
import { until } from "../support/waiting.ts";
import { JobScene } from "./job_scene.ts";

const DEFAULT_RETRY = `retry: { limit: 2, base: "20ms" }`;
/** The obedient task under other terms: its own retries are seconds apart. */
const hasty = (options = DEFAULT_RETRY) => `
  import { context, Reject, Retry, task } from "coxswain";
  task("obedient", { queue: "obedient", timeout: "300ms", ${options} }, async (order) => {
    if ("throw" in order) throw new TypeError(order.throw);
    if ("throwUntil" in order && context.attempt < order.throwUntil) throw new Error("not yet");
    if ("retry" in order && context.attempt < 2) throw new Retry({ after: order.retry });
    if ("reject" in order) throw new Reject(order.reject);
    if ("hang" in order) await new Promise(() => {});
    if ("exit" in order) process.exit(order.exit);
    return { attempt: context.attempt, redelivered: context.redelivered };
  });
`;

describe("a recorded job", () => {
  test("is acked after its outcome is told, with its run and its result", async () => {
    await using scene = await JobScene.open();
    const id = await scene.submit({ return: { a: [1] } });
    const { outcome, run, settles, attempt, task, queue } = await scene.told(id, "outcome");
    expect(outcome).toEqual({ kind: "succeeded", resultJson: '{"a":[1]}' });
    expect(run).toMatchObject({ node: "worker-1", redelivered: false });
    expect({ settles, attempt, task, queue }).toEqual({
      settles: true,
      attempt: 1,
      task: "obedient",
      queue: "obedient",
    });
    expect(scene.of(id).map(({ kind }) => kind)).toEqual(["outcome"]);
  });

  test("that takes its time tells its start and its progress", async () => {
    await using scene = await JobScene.open();
    const id = await scene.submit({ progress: 4, everyMs: 100 });
    await scene.told(id, "outcome");
    const kinds = new Set(scene.of(id).map(({ kind }) => kind));
    expect(kinds).toEqual(new Set(["started", "progress", "outcome"]));
    const seqs = scene.of(id).map(({ seq }) => seq);
    expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    expect(new Set(seqs).size).toBe(seqs.length);
  });

  test("that fails is left to the recorder, with what its next message needs", async () => {
    await using scene = await JobScene.open();
    const id = await scene.submit({ throw: "no luck" }, { priority: 3, retryLimit: 1 });
    const before = Date.now();
    const { error, dueAt, request, attempt } = await scene.told(id, "retrying");
    expect(error).toMatchObject({ type: "ValueError", message: "no luck" });
    expect(attempt).toBe(1);
    expect(dueAt - before).toBeLessThan(1_600);
    expect(request?.terms).toEqual({ priority: 3, retryLimit: 1 });
    expect(request?.payload).toEqual({
      input: { argsJson: '[{"throw":"no luck"}]', kwargsJson: "{}" },
      headers: { "x-told": "yes" },
    });
    expect(await scene.depth()).toBe(0);
  });

  test("whose last attempt failed is a dead letter, and failed", async () => {
    await using scene = await JobScene.open();
    const id = await scene.submit({ throw: "no luck" }, { retryLimit: 0 });
    const { outcome } = await scene.told(id, "outcome");
    expect(outcome).toMatchObject({ kind: "failed", error: { type: "ValueError" } });
    expect(await scene.deadLetters()).toEqual(["Its only attempt failed: ValueError: no luck"]);
    const third = await scene.submit({ throw: "no luck" }, { retryLimit: 2, retries: 2 });
    expect((await scene.told(third, "outcome")).attempt).toBe(3);
    expect(await scene.deadLetters()).toEqual(["Attempt 3 of 3 failed: ValueError: no luck"]);
  });

  test("counts its attempts from the first of its round", async () => {
    await using scene = await JobScene.open();
    const terms = { retryLimit: 1, retries: 4, firstAttempt: 5 };
    const id = await scene.submit({ throw: "no luck" }, terms);
    expect(await scene.told(id, "retrying")).toMatchObject({ attempt: 5, firstAttempt: 5 });
  });

  test("that rejects is tried no further", async () => {
    await using scene = await JobScene.open();
    const id = await scene.submit({ reject: "never" });
    expect((await scene.told(id, "outcome")).outcome.kind).toBe("failed");
    expect(await scene.deadLetters()).toEqual(["never"]);
  });

  test("that asks for a retry gets the pause that it asked for", async () => {
    await using scene = await JobScene.open();
    const before = Date.now();
    const id = await scene.submit({ retry: "90s" });
    const { dueAt } = await scene.told(id, "retrying");
    expect(dueAt - before).toBeGreaterThanOrEqual(90_000);
    expect(dueAt - before).toBeLessThan(95_000);
  });

  test("that runs past its limit is over, unless its policy says otherwise", async () => {
    await using strict = await JobScene.open({ tasks: hasty() });
    const over = await strict.submit({ hang: true });
    expect((await strict.told(over, "outcome")).outcome).toEqual({
      kind: "timed_out",
      limitMs: 300,
    });
    expect(await strict.deadLetters()).toEqual([
      "It ran past its limit of 300ms and was stopped",
    ]);
    await using patient = await JobScene.open({
      tasks: hasty(`retry: { limit: 1, base: "20ms", onTimeout: true }`),
    });
    const again = await patient.submit({ hang: true });
    expect((await patient.told(again, "retrying")).error.type).toBe("TimedOut");
  });

  test("whose isolate ends is tried again", async () => {
    await using scene = await JobScene.open();
    const id = await scene.submit({ exit: 3 });
    expect((await scene.told(id, "retrying")).error.type).toBe("IsolateDied");
  });

  test("that may not start yet is left to the recorder", async () => {
    await using scene = await JobScene.open();
    const etaAt = Date.now() + 60_000;
    const id = await scene.submit({ return: 1 }, { etaAt });
    const { dueAt, request } = await scene.told(id, "scheduled");
    expect(Math.abs(dueAt - etaAt)).toBeLessThan(100);
    expect(request.payload.input.argsJson).toBe('[{"return":1}]');
    await until("it is acked", async () => await scene.depth() === 0);
  });

  test("that is stopped while it runs is cancelled", async () => {
    await using scene = await JobScene.open();
    const id = await scene.submit({ sleepUnlessAborted: 60_000 });
    await scene.told(id, "started");
    await scene.revoke(id);
    expect((await scene.told(id, "outcome")).outcome).toEqual({ kind: "cancelled" });
  });

  test("that expired while it waited is told so", async () => {
    await using scene = await JobScene.open();
    const id = await scene.submit({ return: 1 }, { expires: { at: Date.now() - 10_000, inMs: 0 } });
    expect((await scene.told(id, "outcome")).outcome).toEqual({ kind: "expired" });
  });

  test("tells its outcome though somebody deleted the recorder's queue", async () => {
    await using scene = await JobScene.open({ records: false });
    await scene.broker.deleteQueue(RECORDER_QUEUE.name);
    const id = await scene.submit({ return: 1 });
    await until(
      "the event is kept",
      async () => ((await scene.broker.inspectQueue(RECORDER_QUEUE.name))?.messages ?? 0) > 0,
    );
    await scene.record();
    expect((await scene.told(id, "outcome")).outcome.kind).toBe("succeeded");
  });
});

describe("where no recorder reads", () => {
  test("the worker keeps retries itself, and tells of each", async () => {
    await using scene = await JobScene.open({ records: false, tasks: hasty() });
    const id = await scene.submit({ throw: "no luck" });
    await until("it is given up", async () => (await scene.deadLetters()).length === 1);
    await scene.record();
    expect((await scene.told(id, "outcome")).attempt).toBe(3);
    const told = scene.of(id).map(({ kind, attempt }) => `${kind} ${attempt}`);
    expect(told.toSorted()).toEqual([
      "outcome 3",
      "published 2",
      "published 3",
      "retrying 1",
      "retrying 2",
    ]);
  });

  test("it says that the next attempt is in its queue when it is, and not before", async () => {
    await using scene = await JobScene.open({ records: false });
    const id = await scene.submit({ retry: "60s" });
    const next = await scene.submit({ return: 1 });
    await until(
      "the next one is told",
      async () => ((await scene.broker.inspectQueue(RECORDER_QUEUE.name))?.messages ?? 0) > 0,
    );
    await scene.record();
    await scene.told(next, "outcome");
    // Whoever has this worker's message after it would tell of an attempt that has gone by.
    expect(scene.of(id)).toEqual([]);
  });

  test("the worker keeps delays itself, and other jobs go on meanwhile", async () => {
    await using scene = await JobScene.open({ records: false });
    const etaAt = Date.now() + 700;
    const delayed = await Promise.all(
      Array.from({ length: 20 }, () => scene.submit({ return: 1 }, { etaAt })),
    );
    const prompt = await scene.submit({ return: 2 });
    await until(
      "the prompt one is told",
      async () => ((await scene.broker.inspectQueue(RECORDER_QUEUE.name))?.messages ?? 0) > 0,
    );
    expect(Date.now()).toBeLessThan(etaAt);
    await scene.record();
    await scene.told(prompt, "outcome");
    for (const id of delayed) {
      expect((await scene.told(id, "outcome")).at).toBeGreaterThanOrEqual(etaAt);
    }
  });
});
