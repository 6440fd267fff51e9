import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  awaitsWorker,
  isFinal,
  type Job,
  type JobPhase,
  UNFINISHED_STATES,
} from "../../src/jobs/job.ts";
import { eventBase, type JobEvent, publishedEvent } from "../../src/jobs/job_event.ts";
import { applyEvent, nextRound } from "../../src/jobs/states.ts";
import { anyEvents, disorderly, Life, lives, request, START } from "./job_lives.ts";

function fold(events: readonly JobEvent[]): Job {
  const [first, ...rest] = events;
  if (first === undefined) throw new Error("No events");
  return rest.reduce<Job>(applyEvent, applyEvent(undefined, first));
}

describe("applyEvent", () => {
  test("follows a job from its request to its result", () => {
    const life = new Life();
    expect(fold(life.accepted().events)).toMatchObject({ state: "queued", attempt: 1 });
    expect(fold(life.started("node-b").events))
      .toMatchObject({ state: "running", node: "node-b", startedAt: life.at });
    expect(fold(life.progress(0.5).events).progress).toMatchObject({ fraction: 0.5 });
    const done = fold(life.outcome().events);
    expect(done).toMatchObject({
      state: "succeeded",
      resultJson: "2",
      finishedAt: life.at,
      node: "node-b",
      attempts: [{ attempt: 1, node: "node-b", outcome: "succeeded", endedAt: life.at }],
    });
    expect(done.payload?.input.argsJson).toBe("[1]");
    expect(awaitsWorker(done)).toBe(false);
  });

  test("holds a delayed job until it is published", () => {
    const life = new Life().scheduled(START + 5_000);
    const waiting = fold(life.events);
    expect(waiting).toMatchObject({ state: "scheduled", dueAt: START + 5_000 });
    expect(awaitsWorker(waiting)).toBe(false);
    const queued = applyEvent(waiting, publishedEvent(waiting, START + 5_001));
    expect(queued).toMatchObject({ state: "queued", attempt: 1 });
    expect(queued.dueAt).toBeUndefined();
    expect(awaitsWorker(queued)).toBe(true);
  });

  test("waits again when a worker hands it back, though its clock is late, and is published once", () => {
    const life = new Life().accepted().handedBack(START + 5_000, 60_000);
    const waiting = fold(life.events);
    expect(waiting).toMatchObject({ state: "scheduled", dueAt: START + 5_000 });
    const published = publishedEvent(waiting, START + 5_000);
    const queued = applyEvent(waiting, published);
    expect(queued).toMatchObject({ state: "queued", attempt: 1 });
    // Handed back by two workers, or told twice: it is in its queue already.
    expect(applyEvent(queued, life.last)).toMatchObject({ state: "queued" });
    expect(fold([...life.events.toReversed(), published])).toMatchObject({ state: "queued" });
    expect(awaitsWorker(queued)).toBe(true);
    expect(fold(life.publishedAgain().started().events)).toMatchObject({ state: "running" });
  });

  test("keeps each failed attempt, and the error while it waits for the next", () => {
    const life = new Life().accepted().started().retrying(2_000);
    const waiting = fold(life.events);
    expect(waiting).toMatchObject({
      state: "retrying",
      attempt: 1,
      dueAt: life.at + 2_000,
      error: { message: "attempt 1" },
    });
    const second = applyEvent(waiting, publishedEvent(waiting, life.at + 2_000));
    expect(second).toMatchObject({ state: "queued", attempt: 2 });
    expect(second.error).toBeUndefined();
    const done = fold(life.published().started("node-b").outcome().events);
    expect(done.attempts.map(({ attempt, outcome }) => [attempt, outcome]))
      .toEqual([[1, "retrying"], [2, "succeeded"]]);
  });

  test("lets a lost run stand beside the one that came after it", () => {
    const job = fold(
      new Life().accepted().started("node-a").started("node-b", true).outcome().events,
    );
    expect(job).toMatchObject({ state: "succeeded", node: "node-b", redelivered: true });
    expect(job.attempts.map(({ node, outcome }) => [node, outcome]))
      .toEqual([["node-a", undefined], ["node-b", "succeeded"]]);
  });

  test("keeps the first end, and a later one among the attempts", () => {
    const life = new Life().accepted().started("node-a").outcome();
    const first = fold(life.events);
    const both = fold(life.started("node-b", true).outcome({ kind: "expired" }).events);
    expect(both).toMatchObject({ state: "succeeded", finishedAt: first.finishedAt ?? NaN });
    expect(both.resultJson).toBe("2");
    expect(both.attempts.map(({ outcome }) => outcome)).toEqual(["succeeded", "expired"]);
  });

  test("cancels what does not run with the request, and what runs with its outcome", () => {
    expect(fold(new Life().scheduled(START + 9_000).cancelRequested().events))
      .toMatchObject({ state: "cancelled" });
    const waiting = fold(new Life().accepted().cancelRequested().events);
    expect(waiting.state).toBe("cancelled");
    expect(awaitsWorker(waiting)).toBe(true);
    const life = new Life().accepted().started().cancelRequested();
    expect(fold(life.events)).toMatchObject({ state: "running", cancelRequestedAt: life.at });
    const ended = fold(life.outcome({ kind: "cancelled" }).events);
    expect(ended.state).toBe("cancelled");
    expect(awaitsWorker(ended)).toBe(false);
  });

  test("does not try again what somebody wants cancelled", () => {
    const job = fold(new Life().accepted().started().cancelRequested().retrying().events);
    expect(job.state).toBe("cancelled");
    expect(job.dueAt).toBeUndefined();
  });

  test("lets an operator try a dead letter again", () => {
    const life = new Life().accepted().started().deadLettered("guilty");
    const dead = fold(life.events);
    expect(dead).toMatchObject({ state: "failed", deadLetter: { reason: "guilty" } });
    const attempt = nextRound(dead);
    const again = applyEvent(dead, {
      ...eventBase(dead, life.at + 1),
      kind: "retried",
      attempt,
      firstAttempt: attempt,
      dueAt: life.at + 1,
    });
    expect(again).toMatchObject({ state: "scheduled", attempt: 2, dueAt: life.at + 1 });
    expect(again.deadLetter).toBeUndefined();
    expect(again.finishedAt).toBeUndefined();
    expect(again.attempts).toHaveLength(1);
    // News of the round before is history.
    expect(applyEvent(again, { ...life.last, at: life.at + 9, seq: life.at + 9 }))
      .toMatchObject({ state: "scheduled", attempt: 2 });
  });

  test("a result that was too large leaves its size", () => {
    const job = fold(
      new Life().accepted().outcome({ kind: "succeeded", omittedBytes: 5_000_000 }).events,
    );
    expect(job).toMatchObject({ state: "succeeded", omittedResultBytes: 5_000_000 });
    expect(job.resultJson).toBeUndefined();
  });

  test("makes the same record of any order and repetition", () => {
    fc.assert(
      fc.property(
        lives.chain((life) => fc.tuple(fc.constant(life), disorderly(life))),
        ([life, disorder]) => {
          expect(fold(disorder)).toEqual(fold(life));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test("takes no job backwards, whatever events come", () => {
    fc.assert(
      fc.property(anyEvents, (events) => {
        let job: Job | undefined;
        for (const event of events) {
          const next = applyEvent(job, event);
          if (job !== undefined) expectNotBackwards(job, next);
          expect(applyEvent(next, event)).toEqual(next);
          job = next;
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("fills in the request whenever it comes, without touching the rest", () => {
    const life = new Life().accepted(request({ priority: 5 }, ["late"])).started().outcome();
    const [accepted, ...rest] = life.events;
    if (accepted === undefined) throw new Error("No events");
    const before = fold(rest);
    expect(before.payload).toBeUndefined();
    const after = applyEvent(before, accepted);
    expect(after.terms).toEqual({ priority: 5 });
    expect(after).toMatchObject({ state: "succeeded", resultJson: "2" });
  });
});

function expectNotBackwards(before: Job, after: Job): void {
  expect(after.firstAttempt).toBeGreaterThanOrEqual(before.firstAttempt);
  expect(after.publishedAttempt).toBeGreaterThanOrEqual(before.publishedAttempt);
  expect(after.settledAttempt).toBeGreaterThanOrEqual(before.settledAttempt);
  if (after.firstAttempt > before.firstAttempt) return;
  expect(comparePhases(after.phase, before.phase)).toBeGreaterThanOrEqual(0);
  if (!isFinal(before.state)) return;
  expect([after.state, after.attempt, after.finishedAt, after.resultJson])
    .toEqual([before.state, before.attempt, before.finishedAt, before.resultJson]);
}

function comparePhases(a: JobPhase, b: JobPhase): number {
  return a.attempt - b.attempt || rank(a) - rank(b) || a.seq - b.seq;
}

function rank({ state, isHandedBack }: JobPhase): number {
  const isBeforeRun = state === "scheduled" || state === "queued";
  return UNFINISHED_STATES.indexOf(state) + (isBeforeRun ? isHandedBack ? 2 : 0 : 10);
}
