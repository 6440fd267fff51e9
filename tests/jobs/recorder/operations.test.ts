/** What operators do to jobs, and what comes of it. */
import { expect, test } from "bun:test";
import { CONTROL_EXCHANGE } from "../../../src/broker/topology.ts";
import { decodeCommand } from "../../../src/celery/control/command.ts";
import { JobOperations } from "../../../src/jobs/operations.ts";
import { askCancelledIds, askRecorder } from "../../../src/jobs/questions.ts";
import { newId } from "../../../src/platform/ids.ts";
import { until } from "../../support/waiting.ts";
import { outcome, RecorderScene, scheduled } from "./recorder_scene.ts";

const ASK = { timeoutMs: 5_000 };

async function stage() {
  const scene = await RecorderScene.start();
  await scene.broker.declareExchange(CONTROL_EXCHANGE);
  const control = await scene.broker.openPrivateQueue({
    prefix: "control",
    bindings: [{ exchange: CONTROL_EXCHANGE.name }],
  });
  const revoked: string[] = [];
  const loop = (async () => {
    for await (const delivery of control) {
      const decoded = decodeCommand(delivery);
      if (decoded.kind !== "command" || decoded.command.method !== "revoke") continue;
      revoked.push(...[decoded.command.args["task_id"]].flat().map(String));
    }
  })();
  return {
    scene,
    revoked,
    operations: new JobOperations({
      broker: scene.broker,
      store: scene.store,
      directory: scene.nodes,
    }),
    async [Symbol.asyncDispose]() {
      await control.close();
      await loop;
      await scene[Symbol.asyncDispose]();
    },
  };
}

test("cancel() tells a waiting, a delayed, a running and a finished job apart", async () => {
  await using at = await stage();
  const { scene, operations, revoked } = at;
  const queue = `q-${newId()}`;
  const [waiting, delayed, running, finished] = [
    scheduled(queue, 0),
    scheduled(queue, Date.now() + 60_000),
    scheduled(queue, 0),
    scheduled(queue, 0),
  ];
  await scene.tell(waiting, delayed, running, finished);
  await scene.reached(running.id, "queued");
  await scene.reached(finished.id, "queued");
  const { outcome: _outcome, settles: _settles, ...base } = outcome(running);
  const run = base.run ?? { node: "worker-1", startedAt: Date.now(), redelivered: false };
  await scene.tell({ ...base, kind: "started", run }, outcome(finished));
  await scene.reached(running.id, "running");
  await scene.reached(finished.id, "succeeded");
  await scene.reached(waiting.id, "queued");

  expect(await operations.cancel(waiting.id)).toMatchObject({ kind: "cancelled" });
  expect(await operations.cancel(delayed.id)).toMatchObject({ kind: "cancelled" });
  expect(await operations.cancel(running.id)).toMatchObject({
    kind: "stopping",
    job: { state: "running" },
  });
  expect(await operations.cancel(finished.id)).toMatchObject({ kind: "finished" });
  expect(await operations.cancel("nobody")).toEqual({ kind: "unknown_job", id: "nobody" });
  // Again.
  expect(await operations.cancel(waiting.id)).toMatchObject({ kind: "cancelled" });

  await until("workers have heard it", () => revoked.length >= 4);
  expect(new Set(revoked)).toEqual(new Set([waiting.id, delayed.id, running.id]));
  const ids = await askCancelledIds(scene.broker, ASK);
  expect(new Set(ids)).toEqual(new Set([waiting.id, delayed.id, running.id]));
  await scene.tell(outcome(running, { outcome: { kind: "cancelled" } }));
  await scene.reached(running.id, "cancelled");
});

test("retry() takes only what has ended", async () => {
  await using at = await stage();
  const { scene, operations } = at;
  const { queue, deliveries } = await scene.worker();
  const job = scheduled(queue, 0);
  await scene.tell(job);
  await scene.reached(job.id, "queued");
  expect(await operations.retry(job.id)).toMatchObject({ kind: "not_finished" });
  expect(await operations.retry("nobody")).toEqual({ kind: "unknown_job", id: "nobody" });
  await scene.tell(outcome(job));
  await scene.reached(job.id, "succeeded");
  expect(await operations.retry(job.id)).toMatchObject({
    kind: "retried",
    job: { attempt: 2, firstAttempt: 2 },
  });
  await until("it is published again", () => deliveries.length === 2);
  const { request: _request, dueAt: _due, ...unknown } = scheduled(queue, 0);
  await scene.tell(outcome({ ...unknown, kind: "cancel_requested" }));
  await scene.reached(unknown.id, "succeeded");
  expect(await operations.retry(unknown.id)).toMatchObject({ kind: "refused" });
  expect(await operations.delete(unknown.id)).toBe(true);
  expect(await operations.delete(unknown.id)).toBe(false);
});

test(
  "workers ask for cancelled ids: all of them, in parts, or undefined without a recorder",
  async () => {
    await using scene = await RecorderScene.open();
    const startedAt = performance.now();
    expect(await askCancelledIds(scene.broker, ASK)).toBeUndefined();
    // Nobody to wait for.
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    await scene.record();
    expect(await askCancelledIds(scene.broker, ASK)).toEqual([]);
    const jobs = Array.from({ length: 25_000 }, () => scheduled("q", Date.now() + 3_600_000));
    const cancels = jobs.map(({ request: _request, dueAt: _due, ...base }) => ({
      ...base,
      kind: "cancel_requested" as const,
    }));
    await scene.store.recordEvents([...jobs, ...cancels]);
    const ids = await askCancelledIds(scene.broker, ASK);
    expect(new Set(ids)).toEqual(new Set(jobs.map(({ id }) => id)));
    const facts = await askRecorder(scene.broker, "other", () => true, ASK);
    expect(facts).toMatchObject({ node: "recorder-1", isShared: false });
  },
  30_000,
);
