/**
 * What news from a Celery worker is in the record of a job: our own events. Pure.
 *
 * Celery tells less than our workers do: no attempt's number, often no start, and a retry by one word.
 * So the record is asked what it knows already. News that come late or twice change nothing.
 */
import { DEFAULT_RETRY, jittered, pauseBefore } from "../retry_policy.ts";
import { CELERY_REPLIES_QUEUE } from "../../broker/topology.ts";
import { isFinal, type JobSummary, type Run } from "../job.ts";
import { eventBase, type JobEvent, type JobOutcome } from "../job_event.ts";
import { type CeleryFact, type CeleryNews, NOT_REGISTERED } from "./celery_news.ts";

/** What two ways tell of one start or one retry has instants so close. */
const SAME_WITHIN_MS = 5_000;

/**
 * The events that news stand for.
 * @param job as it is now.
 * @param random from 0 to 1, for the jitter of pauses.
 */
export function celeryEvents(
  job: JobSummary,
  { at, isAnswer, fact }: CeleryNews,
  random: number,
): readonly JobEvent[] {
  const base = eventBase(job, at);
  // An answer has told already what an event tells, or more.
  const isTold = !isAnswer && (isFinal(job.state) || isEnded(job, at - SAME_WITHIN_MS));
  switch (fact.kind) {
    case "received":
      return isFinal(job.state) || fact.attempt <= job.attempt
        ? []
        : [{ ...base, kind: "published", attempt: fact.attempt, seq: at }];
    case "started":
      return isFinal(job.state) || isKnownStart(job, fact.node, at) || isEnded(job, at)
        ? []
        : [{ ...base, kind: "started", run: runOn(fact.node, at) }];
    case "progress":
      return isFinal(job.state) ? [] : [progress(job, base, fact)];
    case "retrying":
      // Even of a finished job: two processes of a Celery worker may answer out of order.
      return isTold ? [] : retrying(job, base, fact);
    case "ended":
      return isTold ? [] : [ended(job, base, fact.outcome, random)];
  }
}

type Base = ReturnType<typeof eventBase>;

function progress(
  job: JobSummary,
  base: Base,
  { fraction, message }: Extract<CeleryFact, { kind: "progress" }>,
): JobEvent {
  return {
    ...base,
    kind: "progress",
    run: openRun(job, job.attempt) ?? runOn("celery", base.at),
    message,
    ...(fraction === undefined ? {} : { fraction }),
  };
}

/** The attempt that has failed, and the next one, which Celery has published already. */
function retrying(
  job: JobSummary,
  base: Base,
  { error }: Extract<CeleryFact, { kind: "retrying" }>,
): readonly JobEvent[] {
  const attempt = retriedAttempts(job) + job.firstAttempt;
  const run = openRun(job, attempt);
  return [
    {
      ...base,
      kind: "retrying",
      attempt,
      error,
      dueAt: base.at,
      ...(run === undefined ? {} : { run }),
    },
    { ...base, kind: "published", attempt: attempt + 1, seq: base.at },
  ];
}

function ended(job: JobSummary, base: Base, outcome: JobOutcome, random: number): JobEvent {
  if (isStray(job, outcome)) return strayed(job, base, outcome, random);
  const run = openRun(job, job.attempt);
  const ran = run === undefined ? {} : { run };
  const pauseMs = isFinal(job.state) ? undefined : pauseBeforeNext(job, outcome, random);
  if (pauseMs === undefined || outcome.kind !== "failed") {
    return { ...base, ...ran, kind: "outcome", outcome, settles: true };
  }
  return {
    ...base,
    ...ran,
    kind: "retrying",
    error: outcome.error,
    dueAt: Math.floor(base.at + pauseMs),
  };
}

/**
 * Celery's own retries are the task's. Ours come besides, where whoever asked for the job wants so
 * many, and where trying again may help.
 */
function pauseBeforeNext(
  { attempt, firstAttempt, terms }: JobSummary,
  outcome: JobOutcome,
  random: number,
): number | undefined {
  if (outcome.kind !== "failed" || outcome.error.type === NOT_REGISTERED) return undefined;
  const retries = attempt - firstAttempt;
  if (retries >= (terms?.retryLimit ?? 0)) return undefined;
  return jittered(pauseBefore(DEFAULT_RETRY, retries), random);
}

type StrayFailure = Extract<JobOutcome, { kind: "failed" }> & {
  readonly error: { readonly type: typeof NOT_REGISTERED };
};

/**
 * A task of ours, in a queue that a Celery worker shares with ours: it took the job, lacks the task, and
 * threw the message away.
 */
function isStray({ terms, state }: JobSummary, outcome: JobOutcome): outcome is StrayFailure {
  return outcome.kind === "failed" && outcome.error.type === NOT_REGISTERED && !isFinal(state) &&
    terms?.replyTo !== CELERY_REPLIES_QUEUE.name;
}

/** It is published again, as an attempt that has failed, and at last it is a dead letter. */
function strayed(job: JobSummary, base: Base, { error }: StrayFailure, random: number): JobEvent {
  const { attempt, firstAttempt, queue, terms } = job;
  const retries = attempt - firstAttempt;
  if (retries >= Math.max(terms?.retryLimit ?? 0, DEFAULT_RETRY.limit)) {
    const reason = `Celery workers take it from queue "${queue}" that it shares with ours, and ` +
      `have no such task: ${retries + 1} times. Give our tasks a queue of their own`;
    return { ...base, kind: "dead_lettered", reason, error, settles: true };
  }
  const pauseMs = jittered(pauseBefore(DEFAULT_RETRY, retries), random);
  return { ...base, kind: "retrying", error, dueAt: Math.floor(base.at + pauseMs) };
}

function runOn(node: string, startedAt: number): Run {
  return { node, startedAt, redelivered: false };
}

/** The run of an attempt that is known to have begun, and not to have ended. */
function openRun(job: JobSummary, attempt: number): Run | undefined {
  const open = job.attempts.findLast((one) =>
    one.attempt === attempt && one.startedAt !== undefined && one.endedAt === undefined
  );
  if (open?.startedAt === undefined || open.node === undefined) return undefined;
  return { node: open.node, startedAt: open.startedAt, redelivered: open.redelivered ?? false };
}

/** Told by its answer, by an event and by a worker that was asked, one start is one run. */
function isKnownStart(job: JobSummary, node: string, at: number): boolean {
  const known = openRun(job, job.attempt);
  return known !== undefined && known.node === node &&
    Math.abs(known.startedAt - at) < SAME_WITHIN_MS;
}

/** An attempt has ended since: what began before is over. */
function isEnded({ attempts }: JobSummary, at: number): boolean {
  return attempts.some(({ endedAt = -Infinity }) => endedAt >= at);
}

function retriedAttempts({ attempts, firstAttempt }: JobSummary): number {
  return attempts.filter(({ attempt, outcome }) =>
    attempt >= firstAttempt && outcome === "retrying"
  ).length;
}
