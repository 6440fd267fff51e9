/** What Celery's workers tell, in our words. */
import { describe, expect, test } from "bun:test";
import { readCeleryEvents, readCeleryReply } from "../../../src/jobs/recorder/celery_news.ts";
import { celeryNodeName } from "../../../src/celery/node_name.ts";
import { deliveryOf } from "../../support/deliveries.ts";

const ID = "01a1fdc8-ab09-74c6-94c6-1dde6a883933";
const HEAD = { uuid: ID, hostname: "w@h", timestamp: 1_795_226_816.25 };

function delivery(body: unknown, properties: object = { correlationId: ID }) {
  return deliveryOf({
    exchange: "",
    routingKey: "r",
    properties: { contentType: "application/json", ...properties },
    body: new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body)),
  });
}

describe("readCeleryReply()", () => {
  const read = async (status: string, result: unknown) =>
    (await readCeleryReply(delivery({ task_id: ID, status, result }), 5.5))?.fact;

  test("says whose it is and when", async () => {
    const body = { task_id: ID, status: "SUCCESS", result: [1] };
    expect(await readCeleryReply(delivery(body), 5.5)).toEqual({
      id: ID,
      at: 5,
      isAnswer: true,
      fact: { kind: "ended", outcome: { kind: "succeeded", resultJson: "[1]" } },
    });
  });

  test("reads news, and an end that is none of Celery's words as a failure", async () => {
    expect(await read("STARTED", { hostname: "w@h" })).toEqual({ kind: "started", node: "w@h" });
    expect(await read("STARTED", null)).toEqual({ kind: "started", node: "celery" });
    expect(await read("RETRY", { exc_type: "E", exc_message: ["m"] })).toEqual({
      kind: "retrying",
      error: { type: "E", message: "m" },
    });
    const failed = async (type: string) =>
      await read("FAILURE", { exc_type: type, exc_message: [] });
    for (const type of ["NotRegistered", "ValueError"]) {
      expect(await failed(type)).toMatchObject({ outcome: { kind: "failed", error: { type } } });
    }
    expect(await failed("WorkerLostError")).toMatchObject({
      outcome: { error: { type: "WorkerLost" } },
    });
    expect(await failed("TimeLimitExceeded")).toMatchObject({ outcome: { kind: "timed_out" } });
    const unreadable = await readCeleryReply(delivery('{"status":"SUCCESS","result":NaN}'), 0);
    expect(unreadable?.fact).toMatchObject({ outcome: { error: { type: "UnreadableReply" } } });
  });

  test.each([
    [{ current: 1, total: 4 }, 0.25],
    [{ current: 9, total: 4 }, 1],
    [{ current: 1, total: 0 }, undefined],
    [{ current: "1", total: 4 }, undefined],
    [null, undefined],
    ["half", undefined],
  ])("reads progress %j as %p", async (meta, fraction) => {
    const fact = await read("PROGRESS", meta);
    expect(fact).toEqual({
      kind: "progress",
      message: "PROGRESS",
      ...(fraction === undefined ? {} : { fraction }),
    });
  });

  test("passes over what is of no job", async () => {
    const body = { task_id: "x", status: "SUCCESS", result: 1 };
    for (const properties of [{}, { correlationId: "3f1c2f6e-0000-4000-8000-000000000000" }]) {
      expect(await readCeleryReply(delivery(body, properties), 0)).toBeUndefined();
    }
    expect(await read("PENDING", null)).toBeUndefined();
  });
});

describe("readCeleryEvents()", () => {
  const facts = (...events: object[]) =>
    readCeleryEvents(delivery(events.map((event) => ({ ...HEAD, ...event })))).map(({ fact }) =>
      fact
    );

  test("reads one, or an array", () => {
    const event = { ...HEAD, type: "task-started" };
    const news = {
      id: ID,
      at: 1_795_226_816_250,
      isAnswer: false,
      fact: { kind: "started", node: "w@h" },
    };
    expect(readCeleryEvents(delivery(event))).toEqual([news] as never);
    expect(readCeleryEvents(delivery([event, event]))).toHaveLength(2);
  });

  test("reads what becomes of a task", () => {
    expect(facts(
      { type: "task-received", retries: 2 },
      { type: "task-received" },
      { type: "task-retried", exception: "RuntimeError('not yet')" },
      { type: "task-succeeded", result: "3" },
      { type: "task-failed", exception: "pkg.Odd(7, 'x')", traceback: "at" },
      { type: "task-failed", exception: "no call at all" },
      { type: "task-rejected", requeue: false },
      { type: "task-revoked", expired: true },
      { type: "task-revoked", terminated: true },
    )).toEqual([
      { kind: "received", attempt: 3 },
      { kind: "received", attempt: 1 },
      { kind: "retrying", error: { type: "RuntimeError", message: "not yet" } },
      { kind: "ended", outcome: { kind: "succeeded" } },
      {
        kind: "ended",
        outcome: { kind: "failed", error: { type: "pkg.Odd", message: "7, 'x", stack: "at" } },
      },
      {
        kind: "ended",
        outcome: { kind: "failed", error: { type: "Error", message: "no call at all" } },
      },
      {
        kind: "ended",
        outcome: {
          kind: "failed",
          error: { type: "Rejected", message: "The task rejected its message" },
        },
      },
      { kind: "ended", outcome: { kind: "expired" } },
      { kind: "ended", outcome: { kind: "cancelled" } },
    ]);
  });

  test("passes over others' tasks, our own workers, and what is no event", () => {
    const started = { type: "task-started" };
    expect(facts(
      { ...started, uuid: "3f1c2f6e-0000-4000-8000-000000000000" },
      { ...started, hostname: celeryNodeName("n") },
      { ...started, hostname: "" },
      { ...started, timestamp: "now" },
      { ...started, timestamp: -1 },
      { ...started, timestamp: 1e300 },
      { type: "task-sent" },
      { type: "task-rejected", requeue: true },
      { type: "task-received", retries: -7 },
      {},
    )).toEqual([]);
    for (const body of ["", "nonsense", "7", "[null, 7, []]", "\xff"]) {
      expect(readCeleryEvents(delivery(body))).toEqual([]);
    }
  });
});
