/** The worker's pure decisions: admission, settlement, look-ahead, shares, revocations. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import type { ReceivedTask } from "../../src/calls/wire/task_message.ts";
import type { AttemptEnd } from "../../src/isolates/attempt.ts";
import type { TaskDescriptor } from "../../src/tasks/descriptor.ts";
import { type AdmissionFacts, admit, MAX_DEATHS, MAX_HOPS } from "../../src/worker/admission.ts";
import { LookAhead } from "../../src/worker/look_ahead.ts";
import { sharePrefetch } from "../../src/worker/prefetch_share.ts";
import { Revocations } from "../../src/worker/revocations.ts";
import { settle } from "../../src/worker/settlement.ts";

const NOW = 1_800_000_000_000;
const DESCRIPTOR: TaskDescriptor = {
  name: "t",
  file: "t.ts",
  queue: "q",
  timeoutMs: 1_000,
  isolation: "worker",
};
const TASK: ReceivedTask = {
  id: "i",
  task: "t",
  kind: "call",
  replyTo: "r",
  correlationId: "i",
  retries: 0,
  retryLimit: undefined,
  isRecorded: false,
  firstAttempt: 1,
  rootId: undefined,
  parentId: undefined,
  timeoutMs: undefined,
  softTimeoutMs: undefined,
  etaAt: undefined,
  expiresAt: undefined,
  once: false,
  hops: 0,
  deaths: 0,
  again: false,
  isCompressed: false,
  isOurs: true,
  celeryHeaders: undefined,
  ignoresResult: false,
  headers: {},
};
const FACTS: AdmissionFacts = {
  now: NOW,
  redelivered: false,
  isRevoked: false,
  descriptor: DESCRIPTOR,
  isServedElsewhere: false,
  hasStranger: false,
};

describe("admit()", () => {
  const of = (task: Partial<ReceivedTask>, facts: Partial<AdmissionFacts> = {}) =>
    admit({ ...TASK, ...task }, { ...FACTS, ...facts });

  test("runs what nothing speaks against", () => {
    expect(of({})).toEqual({ kind: "run", descriptor: DESCRIPTOR });
  });

  test("refuses what was revoked", () => {
    expect(of({}, { isRevoked: true })).toMatchObject({ reply: { kind: "cancelled" } });
  });

  test("refuses what has expired, with room for another clock", () => {
    expect(of({ expiresAt: NOW - 1_000 }).kind).toBe("run");
    expect(of({ expiresAt: NOW - 10_000 })).toMatchObject({ reply: { kind: "expired" } });
  });

  test("runs again what came back after it had expired: it was taken in time", () => {
    expect(of({ expiresAt: NOW - 10_000 }, { redelivered: true }).kind).toBe("run");
    expect(of({ expiresAt: NOW - 10_000, deaths: 1 }).kind).toBe("run");
  });

  test("answers worker_lost for a call that must not run twice", () => {
    expect(of({ once: true }, { redelivered: true })).toMatchObject({
      kind: "refuse",
      reply: { kind: "worker_lost" },
    });
  });

  test("gives on a task that it lacks, pausing longer each time, up to the limit", () => {
    const pauses: number[] = [];
    for (let hops = 0; hops < MAX_HOPS; hops++) {
      const admission = of({ hops }, { descriptor: undefined });
      if (admission.kind !== "give_on") throw new Error(admission.kind);
      expect(admission.hops).toBe(hops + 1);
      pauses.push(admission.pauseMs);
    }
    expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
    expect(of({ hops: MAX_HOPS }, { descriptor: undefined })).toMatchObject({
      kind: "give_up",
      reply: { kind: "failed", error: { type: "NotRegistered" } },
    });
  });

  test("goes on giving on while another worker announces the task", () => {
    const facts = { descriptor: undefined, isServedElsewhere: true };
    expect(of({ hops: MAX_HOPS }, facts).kind).toBe("give_on");
    const celery = { descriptor: undefined, hasStranger: true };
    expect(of({ hops: MAX_HOPS }, celery)).toMatchObject({ kind: "give_on", pauseMs: 1_000 });
    expect(of({ hops: 200 }, celery).kind).toBe("give_up");
  });

  test("waits for an eta", () => {
    expect(of({ etaAt: NOW + 500 })).toEqual({ kind: "wait", waitMs: 500 });
    expect(of({ etaAt: NOW - 500 }).kind).toBe("run");
  });

  test("gives up what has killed as many processes as it may", () => {
    expect(of({ deaths: MAX_DEATHS })).toMatchObject({ reply: { kind: "worker_lost" } });
  });
});

describe("settle()", () => {
  const of = (end: AttemptEnd, facts: Partial<Parameters<typeof settle>[1]> = {}) =>
    settle(end, {
      task: TASK,
      descriptor: DESCRIPTOR,
      alone: false,
      isStopping: false,
      random: 0,
      ...facts,
    });
  const ERROR = { type: "E", message: "m" };
  const EXCEEDED: AttemptEnd = {
    kind: "memory_exceeded",
    limitBytes: 512 * 2 ** 20,
    usedBytes: 530 * 2 ** 20,
    heldBytes: 400 * 2 ** 20,
    isolate: 3,
  };
  const DIED: AttemptEnd = { kind: "isolate_died", reason: "exit 1", started: true };

  test("answers with what the attempt came to", () => {
    expect(of({ kind: "returned", resultJson: "3", headers: {} })).toEqual({
      kind: "answer",
      reply: { kind: "succeeded", resultJson: "3", headers: {} },
    });
    expect(of({ kind: "threw", error: ERROR, headers: {} })).toMatchObject({
      reply: { kind: "failed", error: ERROR },
    });
    expect(of({ kind: "timed_out", limitMs: 5 })).toMatchObject({
      reply: { kind: "timed_out", limitMs: 5 },
    });
    expect(of(EXCEEDED)).toMatchObject({
      kind: "answer",
      reply: {
        kind: "failed",
        error: {
          type: "MemoryLimitExceeded",
          message: expect.stringContaining(
            "isolate 3, in which it ran, held about 400MiB of the " +
              "worker's 530MiB, past the memory limit of 512MiB",
          ),
        },
      },
    });
    expect(of({ kind: "cancelled", started: true })).toMatchObject({
      reply: { kind: "cancelled" },
    });
    expect(of({ kind: "malformed", reason: "no JSON" })).toMatchObject({
      kind: "give_up",
      reply: { kind: "refused" },
    });
    expect(of(DIED)).toMatchObject({ reply: { kind: "failed", error: { type: "IsolateDied" } } });
  });

  test("tries again where the task asks for it, and no more often than its policy", () => {
    const retry: AttemptEnd = { kind: "threw", error: ERROR, headers: {}, retry: {} };
    expect(of(retry)).toEqual({ kind: "try_again", pauseMs: 1_000, headers: { retries: 1 } });
    expect(of(retry, { task: { ...TASK, retries: 2 } })).toMatchObject({ pauseMs: 4_000 });
    expect(of(retry, { task: { ...TASK, retries: 3 } })).toMatchObject({
      reply: { kind: "failed" },
    });
    expect(of({ ...retry, retry: { afterMs: 7 } })).toMatchObject({ pauseMs: 7 });
  });

  test("counts only the deaths of processes that ran the message alone", () => {
    expect(of(DIED, { alone: true })).toMatchObject({
      kind: "try_again",
      headers: { "cox-deaths": 1 },
    });
    expect(of({ ...DIED, started: false }, { alone: true })).toMatchObject({
      kind: "try_again",
      headers: {},
    });
    expect(of(DIED, { alone: true, task: { ...TASK, deaths: MAX_DEATHS - 1 } })).toMatchObject({
      kind: "give_up",
      reply: { kind: "worker_lost" },
    });
  });

  test("gives back what a stopping worker cancels, but not what must run once", () => {
    const cancelled: AttemptEnd = { kind: "cancelled", started: true };
    expect(of(cancelled, { isStopping: true })).toEqual({ kind: "give_back" });
    const once = { isStopping: true, task: { ...TASK, once: true } };
    expect(of(cancelled, once).kind).toBe("answer");
    expect(of({ kind: "cancelled", started: false }, once).kind).toBe("give_back");
  });
});

describe("look-ahead", () => {
  test("starts at none, grows with short tasks and goes at the first long one", () => {
    const lookAhead = new LookAhead("auto", 2);
    expect(lookAhead.value).toBe(0);
    for (let i = 0; i < 100; i++) lookAhead.ended(0.1);
    expect(lookAhead.value).toBe(256);
    lookAhead.sawLong();
    expect(lookAhead.value).toBe(0);
  });

  test("stays at none for tasks of a tenth of a second", () => {
    const lookAhead = new LookAhead("auto", 2);
    for (let i = 0; i < 100; i++) lookAhead.ended(100);
    expect(lookAhead.value).toBe(0);
  });

  test("is what it was set to", () => {
    const lookAhead = new LookAhead(3, 2);
    for (let i = 0; i < 100; i++) lookAhead.ended(0.1);
    expect(lookAhead.value).toBe(3);
  });
});

describe("sharePrefetch()", () => {
  test("gives one queue all of it", () => {
    expect(sharePrefetch(5, [false])).toEqual([5]);
    expect(sharePrefetch(1, [true])).toEqual([1]);
  });

  test("keeps the sum within the total and the quiet queues", () => {
    fc.assert(fc.property(
      fc.integer({ min: 1, max: 500 }),
      fc.array(fc.boolean(), { minLength: 2, maxLength: 20 }),
      (total, active) => {
        const shares = sharePrefetch(total, active);
        const sum = shares.reduce((a, b) => a + b, 0);
        const busy = active.filter(Boolean).length;
        expect(Math.min(...shares)).toBeGreaterThanOrEqual(1);
        expect(sum).toBeLessThanOrEqual(Math.max(total, busy) + active.length - busy);
      },
    ));
  });
});

test("revocations forget the oldest past their bound", () => {
  const revocations = new Revocations();
  for (let i = 0; i <= 120_000; i++) revocations.add(String(i));
  expect(revocations.has("0")).toBe(false);
  expect(revocations.has("1")).toBe(true);
  expect(revocations.has("120000")).toBe(true);
});
