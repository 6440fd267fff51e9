/** Delays and retries: published when due, in order, once, and after whatever happened meanwhile. */
import { expect, test } from "bun:test";
import type { Delivery } from "../../../src/broker/message.ts";
import { COX } from "../../../src/calls/wire/names.ts";
import { newId } from "../../../src/platform/ids.ts";
import { until } from "../../support/waiting.ts";
import { outcome, RecorderScene, scheduled } from "./recorder_scene.ts";

const idsOf = (deliveries: readonly Delivery[]) =>
  deliveries.map(({ message }) => message.properties.headers?.id);

test("a delayed job is published within 100 ms of its time, with all that was asked", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const dueAt = Date.now() + 400;
  const event = scheduled(queue, dueAt, {
    request: {
      terms: { priority: 7, expiresAt: dueAt + 60_000, timeoutMs: 1_500, retryLimit: 5 },
      payload: { input: { argsJson: "[1]", kwargsJson: '{"a":2}' }, headers: { "x-user": "7" } },
    },
  });
  await scene.tell(event);
  expect(await scene.reached(event.id, "scheduled")).toMatchObject({ dueAt });
  await until("the message is there", () => deliveries.length > 0);
  const lateMs = Date.now() - dueAt;
  expect(lateMs).toBeGreaterThanOrEqual(0);
  expect(lateMs).toBeLessThan(500);
  expect(deliveries[0]?.message.properties).toMatchObject({
    persistent: true,
    priority: 7,
    messageId: event.id,
    headers: {
      id: event.id,
      task: "echo",
      retries: 0,
      "x-user": "7",
      [COX.kind]: "job",
      [COX.retryLimit]: 5,
      [COX.timeoutMs]: 1_500,
    },
  });
  expect(deliveries[0]?.message.properties.headers?.[COX.again]).toBeUndefined();
  expect(deliveries[0]?.message.properties.expirationMs).toBeUndefined();
  expect(await scene.reached(event.id, "queued")).toMatchObject({ publishedAttempt: 1 });
});

test("a retry is published as the next attempt", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const first = scheduled(queue, 0);
  const { kind: _kind, outcome: _outcome, settles: _settles, ...base } = outcome(first);
  const error = { type: "Error", message: "no" };
  await scene.tell(
    { ...base, kind: "retrying", error, dueAt: Date.now() + 50, request: first.request },
  );
  await until("the next attempt is published", () => deliveries.length > 0);
  expect(deliveries[0]?.message.properties.headers).toMatchObject({ id: first.id, retries: 1 });
  expect(await scene.reached(first.id, "queued")).toMatchObject({ attempt: 2 });
});

test("a retry of a run again is marked: the first run may have had it published", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const retryOf = (redelivered: boolean) => {
    const first = scheduled(queue, 0);
    const { kind: _kind, outcome: _outcome, settles: _settles, ...base } = outcome(first);
    return {
      ...base,
      kind: "retrying",
      error: { type: "Error", message: "no" },
      dueAt: Date.now(),
      request: first.request,
      run: { node: "w", startedAt: Date.now(), redelivered },
    } as const;
  };
  const [once, again] = [retryOf(false), retryOf(true)];
  await scene.tell(once, again);
  await until("both are published", () => deliveries.length === 2);
  const marks = new Map(deliveries.map(({ message: { properties: { headers } } }) => [
    headers?.id,
    headers?.[COX.again],
  ]));
  expect(marks.get(once.id)).toBeUndefined();
  expect(marks.get(again.id)).toBe(true);
});

test("jobs are published in the order in which they are due, each once", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const dueAt = Date.now() + 700;
  const events = Array.from({ length: 2_000 }, (_, n) => scheduled(queue, dueAt + n / 10));
  const inOrder = events.map((event, n) => ({ ...event, dueAt: dueAt + Math.floor(n / 10) }));
  await scene.tell(...inOrder.toReversed());
  await until("all are published", () => deliveries.length >= events.length, 20_000);
  await scene.reached(inOrder.at(-1)?.id ?? "", "queued");
  const ids = idsOf(deliveries);
  expect(new Set(ids).size).toBe(events.length);
  const dueOf = new Map(inOrder.map((event) => [event.id, event.dueAt]));
  const dues = ids.map((id) => dueOf.get(String(id)) ?? 0);
  expect(dues).toEqual(dues.toSorted((a, b) => a - b));
  expect(deliveries).toHaveLength(events.length);
}, 30_000);

test("a job whose queue nobody has declared waits there for its worker", async () => {
  await using scene = await RecorderScene.start();
  const event = scheduled(`new-${newId()}`, 0);
  await scene.tell(event);
  await scene.reached(event.id, "queued");
  expect(await scene.broker.inspectQueue(event.queue)).toMatchObject({ messages: 1 });
});

test("what was due while no recorder was there is published when one is, and marked", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const due = scheduled(queue, Date.now() + 300);
  const later = scheduled(queue, Date.now() + 1_500);
  await scene.tell(due, later);
  await scene.reached(due.id, "scheduled");
  await scene.recorder.stop();
  await until("it is overdue", () => Date.now() > due.dueAt + 100);
  expect(deliveries).toHaveLength(0);
  await scene.record();
  await until("both are published", () => deliveries.length === 2);
  expect(idsOf(deliveries)).toEqual([due.id, later.id]);
  // Whoever recorded before may have published the first, and not the second.
  expect(deliveries.map(({ message }) => message.properties.headers?.[COX.again] ?? false))
    .toEqual([true, false]);
});

test("a delayed job that was cancelled is never published", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const cancelled = scheduled(queue, Date.now() + 300);
  const other = scheduled(queue, Date.now() + 400);
  await scene.tell(cancelled, other);
  await scene.reached(cancelled.id, "scheduled");
  const { request: _request, dueAt: _due, ...base } = cancelled;
  await scene.tell({ ...base, kind: "cancel_requested" });
  await scene.reached(cancelled.id, "cancelled");
  await scene.reached(other.id, "queued");
  expect(idsOf(deliveries)).toEqual([other.id]);
});

test("a job that cannot be published yet stops nobody", async () => {
  await using scene = await RecorderScene.start();
  const { queue, deliveries } = await scene.worker();
  const { request: _request, ...without } = scheduled(queue, 0);
  // Told by a worker that could not read what was asked; nobody else has told it.
  const bad = { ...without, error: { type: "Error", message: "no" } };
  await scene.tell({ ...bad, kind: "retrying" });
  const good = Array.from({ length: 50 }, () => scheduled(queue, Date.now()));
  await scene.tell(...good);
  await until("all others are published", () => deliveries.length === good.length);
  expect((await scene.store.get(bad.id))?.state).toBe("retrying");
});
