/**
 * A job's record: what is known of a request whose caller does not wait. It is made of events alone
 * (job_event.ts) by one function (states.ts), and kept by the store. Plain data throughout.
 */
import type { CallInput } from "../calls/call.ts";
import type { RetryPolicy } from "../tasks/descriptor.ts";
import type { TaskError } from "../tasks/task_error.ts";

/** States of a job that may still run. */
export const UNFINISHED_STATES = ["scheduled", "queued", "running", "retrying"] as const;
/** How jobs end. The first final state stands. */
export const FINAL_STATES = ["succeeded", "failed", "timed_out", "expired", "cancelled"] as const;
export const JOB_STATES = [...UNFINISHED_STATES, ...FINAL_STATES] as const;

export type UnfinishedState = typeof UNFINISHED_STATES[number];
export type FinalState = typeof FINAL_STATES[number];
export type JobState = typeof JOB_STATES[number];

const FINAL: ReadonlySet<string> = new Set(FINAL_STATES);

export function isFinal(state: JobState): state is FinalState {
  return FINAL.has(state);
}

/** On what terms a job runs. Instants in epoch milliseconds. */
export interface JobTerms {
  /** 0 to 10; absent is 0. */
  readonly priority?: number;
  /** Nobody may start it before. */
  readonly etaAt?: number;
  /** Nobody may start it after. */
  readonly expiresAt?: number;
  readonly timeoutMs?: number;
  readonly softTimeoutMs?: number;
  /** Attempts after the first; absent: the task's policy. */
  readonly retryLimit?: number;
  /** Absent: the task's own. */
  readonly retry?: RetryPolicy;
  /** While a job with this key is unfinished there is no second one. */
  readonly uniqueKey?: string;
  readonly idempotencyKey?: string;
  /** Who waits for the reply, where a Celery client does. */
  readonly replyTo?: string;
  readonly correlationId?: string;
  /** What the task wants hidden from whoever reads the record. */
  readonly redacted?: { readonly input: boolean; readonly result: boolean };
}

/** What the message that runs a job carries besides its terms; it may be large. */
export interface JobPayload {
  readonly input: CallInput;
  /** The third element of Celery's body, where it is not empty (chains, groups). */
  readonly embedJson?: string;
  /** Headers for the task's `context`, and for traces. */
  readonly headers: Readonly<Record<string, string>>;
  /** What a Celery client's message carried besides: headers, as JSON text. */
  readonly celeryJson?: string;
  /** What else the codec of messages needs to write it again; the store does not look into it. */
  readonly wireJson?: string;
}

/** Where a job stands in the order of its events: by attempt, then by `seq`. */
export interface EventOrder {
  /** From 1 on. */
  readonly attempt: number;
  /**
   * Grows within an attempt, over redeliveries to other nodes too: the epoch milliseconds at which the
   * event was made, or one more than the last where that is not larger (`nextSeq`).
   */
  readonly seq: number;
}

/** One run of an attempt; a redelivered message runs the same attempt again. */
export interface Run {
  readonly node: string;
  readonly startedAt: number;
  readonly redelivered: boolean;
}

/** A run, or an end that came without one (expired, cancelled while it waited). */
export interface AttemptRecord {
  readonly attempt: number;
  readonly node?: string;
  readonly startedAt?: number;
  readonly redelivered?: boolean;
  readonly endedAt?: number;
  /** Absent while it runs, and where its worker was lost. */
  readonly outcome?: FinalState | "retrying";
  readonly error?: TaskError;
}

export interface JobProgress extends EventOrder {
  /** 0 to 1. */
  readonly fraction?: number;
  readonly message?: string;
  readonly at: number;
}

export interface DeadLetter {
  readonly at: number;
  readonly attempt: number;
  readonly reason: string;
}

/** All but what may be large: what lists show, and what events are applied to. */
export interface JobSummary {
  /** A UUIDv7 where it is ours. */
  readonly id: string;
  readonly task: string;
  readonly queue: string;
  readonly state: JobState;
  /** The attempt that the state speaks of, from 1 on. */
  readonly attempt: number;
  /** The first attempt since the job was accepted or an operator tried it again. */
  readonly firstAttempt: number;
  readonly createdAt: number;
  readonly rootId?: string;
  readonly parentId?: string;
  /** Absent until the event that tells them has come. */
  readonly terms?: JobTerms;
  /** When it is to be published: `scheduled` and `retrying` jobs alone. */
  readonly dueAt?: number;
  /** Start of the run that the state speaks of, on `node`. */
  readonly startedAt?: number;
  readonly node?: string;
  /** The state speaks of a run of a message that was delivered before. */
  readonly redelivered: boolean;
  readonly finishedAt?: number;
  /** Of `failed`, `timed_out` and `retrying` jobs. */
  readonly error?: TaskError;
  /** Size of a result that was too large to be kept. */
  readonly omittedResultBytes?: number;
  /** The last that the current attempt told. */
  readonly progress?: JobProgress;
  readonly cancelRequestedAt?: number;
  readonly deadLetter?: DeadLetter;
  /** By attempt and start; the last 100. */
  readonly attempts: readonly AttemptRecord[];
  /** The highest order of all events that it is made of. */
  readonly lastEvent: EventOrder;
  /** How far it has come while unfinished, whatever its end: written by states.ts alone. */
  readonly phase: JobPhase;
  /** The highest attempts whose message is known to have been in a queue, and to have left it. */
  readonly publishedAttempt: number;
  readonly settledAttempt: number;
}

/** The furthest point that an unfinished job has reached. */
export interface JobPhase extends EventOrder {
  readonly state: UnfinishedState;
  /** Waits, or is in its queue, for the second time in this attempt: a worker handed it back. */
  readonly isHandedBack?: true;
}

export interface Job extends JobSummary {
  /** Absent until the event that tells it has come. */
  readonly payload?: JobPayload;
  /** JSON text. Absent where it did not succeed, or the result was too large. */
  readonly resultJson?: string;
}

/** Whether the job's message may still lie in a queue, so that workers must be told of a cancel. */
export function awaitsWorker(job: JobSummary): boolean {
  return job.publishedAttempt > job.settledAttempt;
}
