/** A recorder that hears of jobs on Celery's workers, without them: what comes when, and to whom. */
import { expect, test } from "bun:test";
import { CELERY_EVENTS_EXCHANGE, CELERY_REPLIES_QUEUE } from "../../../src/broker/topology.ts";
import { encodeReply, type Reply } from "../../../src/calls/wire/reply_message.ts";
import { decodeTask } from "../../../src/calls/wire/task_message.ts";
import { jobMessage } from "../../../src/jobs/job_message.ts";
import { newId } from "../../../src/platform/ids.ts";
import { deliveryOf } from "../../support/deliveries.ts";
import { until } from "../../support/waiting.ts";
import { RecorderScene, scheduled } from "./recorder_scene.ts";

const LIMIT_MS = 30_000;
const DONE: Reply = { kind: "succeeded", resultJson: "3", headers: {} };

function accepted(queue = "celery") {
  const { dueAt: _due, ...rest } = scheduled(queue, 0);
  const request = {
    ...rest.request,
    terms: { ...rest.request.terms, replyTo: CELERY_REPLIES_QUEUE.name },
  };
  return { ...rest, kind: "accepted" as const, request };
}

async function answer(scene: RecorderScene, id: string, reply: Reply): Promise<void> {
  const replyTo = CELERY_REPLIES_QUEUE.name;
  const message = await encodeReply(
    { id, replyTo, correlationId: id, mayCompress: false, node: "w@h" },
    reply,
  );
  await scene.broker.publish(message, { confirm: true, mandatory: true });
}

test("an answer waits for its job's record, and is recorded once it is there", async () => {
  await using scene = await RecorderScene.start();
  const job = accepted();
  await answer(scene, job.id, DONE);
  await until("it is held", () =>
    scene.broker.inspectQueue(CELERY_REPLIES_QUEUE.name)
      .then((queue) => queue?.messages === 0));
  await scene.tell(job);
  expect((await scene.reached(job.id, "succeeded")).resultJson).toBe("3");
}, LIMIT_MS);

test("an answer that nobody recorded is there for the next recorder", async () => {
  await using scene = await RecorderScene.start();
  const job = accepted();
  await scene.recorder.stop();
  await scene.tell(job);
  await answer(scene, job.id, { kind: "failed", error: { type: "E", message: "m" }, headers: {} });
  await scene.record();
  expect((await scene.reached(job.id, "failed")).error).toMatchObject({ type: "E" });
}, LIMIT_MS);

test("events tell of the run, and strangers' events nothing", async () => {
  await using scene = await RecorderScene.start();
  const job = accepted();
  await scene.tell(job);
  await scene.reached(job.id, "queued");
  await until("events are heard", async () => {
    const events = [
      { type: "task-started", uuid: "x" },
      { type: "task-started", uuid: job.id },
    ].map((event) => ({ ...event, hostname: "w@h", timestamp: Date.now() / 1_000 }));
    await scene.broker.publish({
      exchange: CELERY_EVENTS_EXCHANGE.name,
      routingKey: "task.multi",
      properties: { contentType: "application/json" },
      body: new TextEncoder().encode(JSON.stringify(events)),
    });
    return (await scene.store.get(job.id))?.state === "running";
  });
  expect((await scene.store.get(job.id))?.node).toBe("w@h");
}, LIMIT_MS);

test("news of calls, which have no records, hold up nobody's answer", async () => {
  await using scene = await RecorderScene.start();
  const job = accepted();
  await scene.tell(job);
  await scene.reached(job.id, "queued");
  const hear = async (ids: readonly string[]) => {
    const events = ids.map((uuid) => ({
      type: "task-started",
      uuid,
      hostname: "w@h",
      timestamp: Date.now() / 1_000,
    }));
    await scene.broker.publish({
      exchange: CELERY_EVENTS_EXCHANGE.name,
      routingKey: "task.multi",
      properties: { contentType: "application/json" },
      body: new TextEncoder().encode(JSON.stringify(events)),
    });
  };
  const first = accepted();
  await scene.tell(first);
  await until("events are heard", async () => {
    await hear([first.id]);
    return (await scene.store.get(first.id))?.state === "running";
  });
  await hear(Array.from({ length: 1_000 }, () => newId()));
  await hear([job.id]);
  // Records are waited for by what has none for ten seconds.
  const before = performance.now();
  await scene.reached(job.id, "running");
  expect(performance.now() - before).toBeLessThan(5_000);
}, LIMIT_MS);

test("a worker of ours that takes such a job does not answer", async () => {
  const job = accepted();
  const message = await jobMessage({ ...job, firstAttempt: 1, ...job.request }, 1, {
    node: "n",
    version: "1",
  });
  expect(message.properties.replyTo).toBe(CELERY_REPLIES_QUEUE.name);
  expect(decodeTask(deliveryOf(message))).toMatchObject({ task: { replyTo: undefined } });
});
