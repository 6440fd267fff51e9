/** What news from a Celery worker make of a job's record. */
import { describe, expect, test } from "bun:test";
import { CELERY_REPLIES_QUEUE } from "../../../src/broker/topology.ts";
import type { Job } from "../../../src/jobs/job.ts";
import type { CeleryFact } from "../../../src/jobs/recorder/celery_news.ts";
import { celeryEvents } from "../../../src/jobs/recorder/celery_story.ts";
import { applyEvent } from "../../../src/jobs/states.ts";

const ID = "01a1fdc8-ab09-74c6-94c6-1dde6a883933";
const AT = 1_700_000_000_000;

/** A job that was accepted at AT, on a Celery worker unless it is said otherwise. */
function accepted(terms: NonNullable<Job["terms"]> = { replyTo: CELERY_REPLIES_QUEUE.name }): Job {
  return applyEvent(undefined, {
    kind: "accepted",
    id: ID,
    task: "t",
    queue: "celery",
    createdAt: AT,
    attempt: 1,
    seq: AT,
    at: AT,
    request: { terms, payload: { input: { argsJson: "[]", kwargsJson: "{}" }, headers: {} } },
  });
}

/** News after AT, in milliseconds; answers unless they are events. */
type News = readonly [number, CeleryFact, "event"?];

function told(job: Job, ...news: readonly News[]): Job {
  return news.reduce((before, [after, fact, source]) => {
    const given = { id: ID, at: AT + after, isAnswer: source === undefined, fact };
    return celeryEvents(before, given, 0).reduce(
      (one, event) => applyEvent(one, event),
      before,
    );
  }, job);
}

const started: CeleryFact = { kind: "started", node: "w@h" };
const retrying: CeleryFact = { kind: "retrying", error: { type: "E", message: "m" } };
const succeeded: CeleryFact = { kind: "ended", outcome: { kind: "succeeded", resultJson: "3" } };
const unseen: CeleryFact = { kind: "ended", outcome: { kind: "succeeded" } };
const cancelled: CeleryFact = { kind: "ended", outcome: { kind: "cancelled" } };
const failed = (type = "ValueError"): CeleryFact => ({
  kind: "ended",
  outcome: { kind: "failed", error: { type, message: "m" } },
});
const outcomes = (job: Job) => job.attempts.map(({ attempt, outcome }) => [attempt, outcome]);

describe("a job on a Celery worker", () => {
  test("is queued, runs, and has its result", () => {
    const running = told(accepted(), [10, started]);
    expect(running).toMatchObject({ state: "running", node: "w@h", startedAt: AT + 10 });
    const done = told(running, [20, succeeded]);
    expect(done).toMatchObject({ state: "succeeded", resultJson: "3", node: "w@h" });
    expect(done.attempts).toEqual([
      expect.objectContaining({ attempt: 1, node: "w@h", endedAt: AT + 20, outcome: "succeeded" }),
    ]);
  });

  test("begins once, however many tell it, and again where it was delivered again", () => {
    const once = told(accepted(), [10, started], [12, started, "event"]);
    expect(once.attempts).toHaveLength(1);
    const again = told(once, [20_000, { kind: "started", node: "other@h" }, "event"]);
    expect(again).toMatchObject({ attempt: 1, node: "other@h" });
    expect(again.attempts).toHaveLength(2);
  });

  test("does not begin after its end", () => {
    const done = told(accepted(), [20, failed()], [10, started, "event"]);
    expect(outcomes(done)).toEqual([[1, "failed"]]);
  });

  test("has Celery's retries as attempts, and waits for nobody in between", () => {
    const waiting = told(accepted(), [10, started], [20, retrying]);
    expect(waiting).toMatchObject({ state: "queued", attempt: 2 });
    expect(waiting.dueAt).toBeUndefined();
    const done = told(waiting, [30, retrying], [40, succeeded]);
    expect(done).toMatchObject({ state: "succeeded", attempt: 3 });
    expect(outcomes(done)).toEqual([[1, "retrying"], [2, "retrying"], [3, "succeeded"]]);
  });

  test("keeps a retry that is told after the end, and one that an event tells alone", () => {
    const late = told(
      accepted(),
      [5, { kind: "received", attempt: 2 }, "event"],
      [20, succeeded],
      [21, retrying],
    );
    expect(late.state).toBe("succeeded");
    expect(outcomes(late)).toEqual([[1, "retrying"], [2, "succeeded"]]);
    const both = told(accepted(), [20, retrying], [21, retrying, "event"]);
    expect(both.attempt).toBe(2);
    expect(told(accepted(), [21, retrying, "event"]).attempt).toBe(2);
  });

  test("ends by an event where no answer came, and not where one did", () => {
    expect(told(accepted(), [10, unseen, "event"]).state).toBe("succeeded");
    const answered = told(accepted(), [10, succeeded], [9, failed(), "event"]);
    expect(answered).toMatchObject({ state: "succeeded", resultJson: "3" });
    // It waits for our own retry, and what is told of the attempt before is over.
    const again = accepted({ replyTo: CELERY_REPLIES_QUEUE.name, retryLimit: 1 });
    expect(told(again, [10, failed()], [11, failed(), "event"])).toMatchObject({
      state: "retrying",
      attempt: 1,
    });
  });

  test("is tried again by us as often as was asked for, and no more", () => {
    const job = accepted({ replyTo: CELERY_REPLIES_QUEUE.name, retryLimit: 1 });
    const waiting = told(job, [10, failed()]);
    expect(waiting).toMatchObject({ state: "retrying", dueAt: AT + 1_010 });
    const [published] = celeryEvents(waiting, {
      id: ID,
      at: AT + 1_020,
      isAnswer: false,
      fact: { kind: "received", attempt: 2 },
    }, 0);
    if (published === undefined) throw new Error("The second attempt is in its queue");
    expect(told(applyEvent(waiting, published), [1_030, failed()])).toMatchObject({
      state: "failed",
      attempt: 2,
    });
    expect(told(job, [10, failed("NotRegistered")]).state).toBe("failed");
    expect(told(job, [10, { kind: "ended", outcome: { kind: "timed_out", limitMs: 0 } }]).state)
      .toBe("timed_out");
  });

  test("tells its progress, though nobody said that it began", () => {
    const job = told(accepted(), [10, { kind: "progress", message: "HALF", fraction: 0.5 }]);
    expect(job).toMatchObject({ state: "running", progress: { fraction: 0.5, message: "HALF" } });
    expect(told(job, [20, succeeded]).attempts).toHaveLength(1);
  });

  test("that was cancelled is settled with the worker's last word", () => {
    const asked = applyEvent(accepted(), {
      kind: "cancel_requested",
      id: ID,
      task: "t",
      queue: "celery",
      createdAt: AT,
      attempt: 1,
      seq: AT + 1,
      at: AT + 1,
    });
    expect(asked.state).toBe("cancelled");
    const job = told(asked, [10, cancelled]);
    expect(job).toMatchObject({ state: "cancelled", settledAttempt: 1 });
  });
});

describe("a job of ours that a Celery worker took", () => {
  const lacking = failed("NotRegistered");

  test("is tried again, and at last it is a dead letter", () => {
    let job = accepted({});
    for (const attempt of [1, 2, 3]) {
      job = told(job, [attempt * 10_000, lacking]);
      expect(job).toMatchObject({ state: "retrying", attempt });
      job = told(job, [attempt * 10_000 + 1, { kind: "received", attempt: attempt + 1 }, "event"]);
    }
    job = told(job, [50_000, lacking]);
    expect(job).toMatchObject({ state: "failed", deadLetter: { attempt: 4 } });
  });

  test("and that has a task of this name has its outcome", () => {
    expect(told(accepted({}), [10, succeeded]).state).toBe("succeeded");
  });
});
