/**
 * What an event makes of a job: the one transition function of jobs. Pure and total. docs/jobs.md
 * draws it.
 *
 * Events come late, twice and out of order, so the record is built of maxima: a job's phase is the
 * furthest point, by attempt and then by rank (scheduled < queued < handed back < queued again < running
 * < retrying), that any event tells of. An end stands above all phases; the first one that is applied
 * stays, and later ones are only kept among the attempts. An operator's retry begins a new round, which
 * every later event names by `firstAttempt`; events of earlier rounds are history.
 */
import { errorOf, recordAttempt } from "./attempts.ts";
import {
  type FinalState,
  isFinal,
  type Job,
  type JobPhase,
  type JobProgress,
  type Run,
  type UnfinishedState,
} from "./job.ts";
import { compareOrder, type JobEvent, type JobOutcome } from "./job_event.ts";
import type { TaskError } from "../tasks/task_error.ts";

/** What belongs to the state alone, and goes when it changes. */
interface OfState {
  readonly dueAt?: number;
  readonly run?: Run;
  readonly error?: TaskError;
  readonly resultJson?: string;
  readonly omittedResultBytes?: number;
}

/**
 * The order of phases in an attempt. A job whose message a worker handed back waits and is published
 * once more; that this comes after the first publication says its rank, since clocks of different
 * nodes do not.
 */
const RANKS: Readonly<Record<UnfinishedState, { readonly first: number; readonly again: number }>> =
  {
    scheduled: { first: 0, again: 2 },
    queued: { first: 1, again: 3 },
    running: { first: 4, again: 4 },
    retrying: { first: 5, again: 5 },
  };

/**
 * Applies an event.
 * @param job undefined: the first event that comes of it. Its payload and result may be absent though
 *   they are known (a store keeps them apart); they are set on what is returned only where the event
 *   tells them.
 */
export function applyEvent(job: Job | undefined, event: JobEvent): Job {
  const known = learnt(job ?? unknownJob(event), event);
  const round = event.firstAttempt ?? 1;
  const inRound = round > known.firstAttempt ? newRound(known, round) : known;
  return withoutOldTimes(withoutOldProgress(
    round < inRound.firstAttempt ? history(inRound, event) : transition(inRound, event),
  ));
}

/** The attempt that an operator's retry of this job is: above all that was ever tried. */
export function nextRound(job: Job): number {
  return Math.max(job.attempt, job.phase.attempt, job.publishedAttempt, job.settledAttempt) + 1;
}

function transition(job: Job, event: JobEvent): Job {
  switch (event.kind) {
    case "accepted":
    case "published":
      return advance(inQueue(job, event), event, "queued", {});
    case "scheduled":
    case "retried":
      return advance(job, event, "scheduled", { dueAt: event.dueAt });
    case "started":
      return advance(history(job, event), event, "running", { run: event.run });
    case "progress":
      return progressed(advance(history(job, event), event, "running", { run: event.run }), event);
    case "retrying":
      return advance(history(job, event), event, "retrying", {
        dueAt: event.dueAt,
        error: event.error,
        ...(event.run === undefined ? {} : { run: event.run }),
      });
    case "outcome":
      return end(history(job, event), event, event.outcome.kind, {
        ...ofOutcome(event.outcome),
        ...(event.run === undefined ? {} : { run: event.run }),
      });
    case "dead_lettered":
      return deadLettered(
        end(history(job, event), event, "failed", {
          error: event.error ?? { type: "DeadLettered", message: event.reason },
          ...(event.run === undefined ? {} : { run: event.run }),
        }),
        event,
      );
    case "cancel_requested":
      return cancelled({
        ...job,
        cancelRequestedAt: Math.min(job.cancelRequestedAt ?? Infinity, event.at),
      }, event);
  }
}

/** What holds whatever the job's state and round: who ran it, and where its messages are. */
function history(job: Job, event: JobEvent): Job {
  switch (event.kind) {
    case "accepted":
    case "published":
      return inQueue(job, event);
    case "started":
    case "progress":
      return recordAttempt(inQueue(job, event), event);
    case "retrying":
      return recordAttempt(settled(job, event), event);
    case "outcome":
    case "dead_lettered":
      return recordAttempt(event.settles ? settled(job, event) : job, event);
    case "scheduled":
    case "cancel_requested":
    case "retried":
      return job;
  }
}

/** A job of which nothing is known but that there is this event. */
function unknownJob(event: JobEvent): Job {
  const attempt = event.firstAttempt ?? 1;
  return {
    id: event.id,
    task: event.task,
    queue: event.queue,
    state: "scheduled",
    attempt,
    firstAttempt: attempt,
    createdAt: event.createdAt,
    redelivered: false,
    attempts: [],
    lastEvent: { attempt: event.attempt, seq: event.seq },
    phase: beginning(attempt),
    publishedAttempt: 0,
    settledAttempt: 0,
  };
}

/** Below every phase that an event can tell of. */
function beginning(attempt: number): JobPhase {
  return { attempt, state: "scheduled", seq: -1 };
}

function learnt(job: Job, event: JobEvent): Job {
  const { rootId, parentId, request } = event;
  return {
    ...job,
    createdAt: Math.min(job.createdAt, event.createdAt),
    ...(rootId === undefined || job.rootId !== undefined ? {} : { rootId }),
    ...(parentId === undefined || job.parentId !== undefined ? {} : { parentId }),
    ...(request === undefined || job.terms !== undefined ? {} : request),
    lastEvent: compareOrder(event, job.lastEvent) > 0
      ? { attempt: event.attempt, seq: event.seq }
      : job.lastEvent,
  };
}

function newRound(job: Job, firstAttempt: number): Job {
  const {
    cancelRequestedAt: _cancel,
    deadLetter: _dead,
    progress: _progress,
    ...kept
  } = withoutState(job);
  return {
    ...kept,
    firstAttempt,
    attempt: firstAttempt,
    state: "scheduled",
    phase: beginning(firstAttempt),
  };
}

/** Moves an unfinished job on; never back. A finished one only remembers how far it had come. */
function advance(job: Job, event: JobEvent, state: UnfinishedState, own: OfState): Job {
  // Of two runs of one attempt the later one counts, whoever's news comes last.
  const seq = state === "running" && own.run !== undefined ? own.run.startedAt : event.seq;
  const phase: JobPhase = {
    attempt: event.attempt,
    state,
    seq,
    ...("isHandedBack" in event && event.isHandedBack === true ? { isHandedBack: true } : {}),
  };
  if (comparePhases(phase, job.phase) <= 0) return job;
  if (isFinal(job.state)) return { ...job, phase };
  return cancelled(
    { ...withoutState(job), phase, state, attempt: event.attempt, ...stateFields(own) },
    event,
  );
}

/** Ends an unfinished job; the first end stays. */
function end(job: Job, event: JobEvent, state: FinalState, own: OfState): Job {
  if (isFinal(job.state)) return job;
  return {
    ...withoutState(job),
    state,
    attempt: event.attempt,
    finishedAt: event.at,
    ...stateFields(own),
  };
}

/** Nobody needs to be told of a cancelled job that does not run; a running one is stopped first. */
function cancelled(job: Job, event: JobEvent): Job {
  if (job.cancelRequestedAt === undefined || job.state === "running") return job;
  return end(job, { ...event, attempt: job.attempt }, "cancelled", {});
}

function deadLettered(job: Job, event: Extract<JobEvent, { kind: "dead_lettered" }>): Job {
  const { attempt, at, reason } = event;
  const isKnown = job.deadLetter !== undefined &&
    (job.deadLetter.attempt - attempt || job.deadLetter.at - at) <= 0;
  return isKnown ? job : { ...job, deadLetter: { attempt, at, reason } };
}

function progressed(job: Job, event: Extract<JobEvent, { kind: "progress" }>): Job {
  if (job.progress !== undefined && compareOrder(event, job.progress) <= 0) return job;
  const { attempt, seq, at, fraction, message } = event;
  const progress: JobProgress = {
    attempt,
    seq,
    at,
    ...(fraction === undefined ? {} : { fraction }),
    ...(message === undefined ? {} : { message }),
  };
  return { ...job, progress };
}

/** An operator who tries a job again wants it to run, whenever it was to begin at the latest. */
function withoutOldTimes(job: Job): Job {
  if (job.firstAttempt === 1 || job.terms === undefined) return job;
  const { etaAt, expiresAt, ...terms } = job.terms;
  return etaAt === undefined && expiresAt === undefined ? job : { ...job, terms };
}

/** A new attempt begins at nothing. */
function withoutOldProgress(job: Job): Job {
  if (job.progress === undefined) return job;
  if (job.progress.attempt >= Math.max(job.attempt, job.phase.attempt)) return job;
  const { progress: _old, ...rest } = job;
  return rest;
}

function inQueue(job: Job, event: JobEvent): Job {
  return job.publishedAttempt >= event.attempt ? job : { ...job, publishedAttempt: event.attempt };
}

function settled(job: Job, event: JobEvent): Job {
  const published = inQueue(job, event);
  return published.settledAttempt >= event.attempt
    ? published
    : { ...published, settledAttempt: event.attempt };
}

function comparePhases(a: JobPhase, b: JobPhase): number {
  return a.attempt - b.attempt || rank(a) - rank(b) || a.seq - b.seq;
}

function rank({ state, isHandedBack }: JobPhase): number {
  return RANKS[state][isHandedBack ? "again" : "first"];
}

function withoutState(job: Job): Job {
  const {
    dueAt: _due,
    startedAt: _started,
    node: _node,
    finishedAt: _finished,
    error: _error,
    resultJson: _result,
    omittedResultBytes: _omitted,
    ...rest
  } = job;
  return { ...rest, redelivered: false };
}

function stateFields({ run, ...rest }: OfState): Partial<Job> {
  return run === undefined ? rest : { ...rest, ...run };
}

function ofOutcome(outcome: JobOutcome): OfState {
  switch (outcome.kind) {
    case "succeeded":
      return {
        ...(outcome.resultJson === undefined ? {} : { resultJson: outcome.resultJson }),
        ...(outcome.omittedBytes === undefined ? {} : { omittedResultBytes: outcome.omittedBytes }),
      };
    case "failed":
    case "timed_out":
    case "expired":
    case "cancelled":
      return errorOf(outcome);
  }
}
