/** The attempts in a job's record: one entry a run, put together of events in any order. */
import type { TaskError } from "../tasks/task_error.ts";
import type { AttemptRecord, Job } from "./job.ts";
import type { JobEvent, JobOutcome } from "./job_event.ts";

/** The oldest go first: a job with many retries must not grow without end. */
const MAX_ATTEMPTS = 100;

type AttemptEvent = Extract<
  JobEvent,
  { kind: "started" | "progress" | "retrying" | "outcome" | "dead_lettered" }
>;

/** Enters what an event tells of an attempt. */
export function recordAttempt(job: Job, event: AttemptEvent): Job {
  const told = entryOf(event);
  if (told === undefined) return job;
  const index = job.attempts.findIndex((entry) => isSame(entry, told));
  const known = job.attempts[index];
  if (known === undefined) {
    const attempts = [...job.attempts, told].toSorted(compare).slice(-MAX_ATTEMPTS);
    return { ...job, attempts };
  }
  const joined = join(known, told);
  return joined === known ? job : { ...job, attempts: job.attempts.with(index, joined) };
}

/** The error that an outcome stands for. */
export function errorOf(outcome: JobOutcome): { readonly error?: TaskError } {
  switch (outcome.kind) {
    case "failed":
      return { error: outcome.error };
    case "timed_out":
      return {
        error: {
          type: "TimedOut",
          message: `It ran past its limit of ${outcome.limitMs} ms and was stopped`,
        },
      };
    case "succeeded":
    case "expired":
    case "cancelled":
      return {};
  }
}

/** Undefined where an event says nothing of how an attempt went. */
function entryOf(event: AttemptEvent): AttemptRecord | undefined {
  const { attempt, at, run } = event;
  switch (event.kind) {
    case "started":
    case "progress":
      return { attempt, ...run };
    case "retrying":
      return { attempt, ...run, endedAt: at, outcome: "retrying", error: event.error };
    case "outcome": {
      const { outcome } = event;
      return { attempt, ...run, endedAt: at, outcome: outcome.kind, ...errorOf(outcome) };
    }
    case "dead_lettered":
      // Without a run it tells of no attempt: what came before says why.
      return run && {
        attempt,
        ...run,
        endedAt: at,
        outcome: "failed",
        ...(event.error === undefined ? {} : { error: event.error }),
      };
  }
}

/** A run is known by its node and start; an end without a run by what it says. */
function isSame(a: AttemptRecord, b: AttemptRecord): boolean {
  return a.attempt === b.attempt && a.startedAt === b.startedAt && a.node === b.node &&
    (a.startedAt !== undefined || (a.outcome === b.outcome && a.endedAt === b.endedAt));
}

/** Of two ends that one run is said to have had, the earlier one counts, whichever came first. */
function join(known: AttemptRecord, told: AttemptRecord): AttemptRecord {
  if (told.endedAt === undefined) return known;
  if (known.endedAt === undefined) return told;
  return (told.endedAt - known.endedAt || compareText(told.outcome, known.outcome)) < 0
    ? told
    : known;
}

function compare(a: AttemptRecord, b: AttemptRecord): number {
  return a.attempt - b.attempt ||
    (a.startedAt ?? a.endedAt ?? 0) - (b.startedAt ?? b.endedAt ?? 0) ||
    compareText(a.node, b.node) || compareText(a.outcome, b.outcome);
}

function compareText(a = "", b = ""): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
