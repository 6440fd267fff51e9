/**
 * A job as adapters write it: columns that are searched, and the rest as JSON text. What a column holds
 * follows from the record alone.
 */
import { awaitsWorker, isFinal, type Job, type JobState, type JobSummary } from "../jobs/job.ts";
import type { JobEvent } from "../jobs/job_event.ts";
import { withinLimits } from "../jobs/limits.ts";
import { applyEvent } from "../jobs/states.ts";

/** In `cancelAt`: workers must be told for as long as the job is kept. The last instant that Date has. */
export const OPEN_CANCEL_AT = 8.64e15;

/** What is searched for. */
export interface JobColumns {
  readonly id: string;
  readonly task: string;
  readonly state: JobState;
  readonly createdAt: number;
  readonly dueAt: number | null;
  /** While nobody has begun to run it. */
  readonly expiresAt: number | null;
  readonly finishedAt: number | null;
  readonly deadAt: number | null;
  /** When a cancel was asked for, or OPEN_CANCEL_AT. */
  readonly cancelAt: number | null;
}

export interface JobRow extends JobColumns {
  /** The summary as JSON text. */
  readonly summary: string;
}

/** What a batch made of a job, and what is to be written. */
export interface Change {
  readonly row: JobRow;
  readonly job: Job;
  readonly before: KnownJob | undefined;
  /** Whether a searched column is another one now. */
  readonly moves: boolean;
  /** Set where the batch brought it: to be written once. */
  readonly payload: string | undefined;
  /** "keep": what is there stays. */
  readonly result: { readonly set: string | null } | "keep";
  readonly claims: readonly string[];
  readonly releases: readonly string[];
}

/** A job as it was read before a batch. */
export interface KnownJob {
  readonly job: JobSummary;
  readonly summary: string;
}

function columnsOf(job: JobSummary): JobColumns {
  const isWaiting = !isFinal(job.state) && job.state !== "running";
  return {
    id: job.id,
    task: job.task,
    state: job.state,
    createdAt: job.createdAt,
    dueAt: job.dueAt ?? null,
    expiresAt: isWaiting ? job.terms?.expiresAt ?? null : null,
    finishedAt: job.finishedAt ?? null,
    deadAt: job.deadLetter?.at ?? null,
    cancelAt: job.cancelRequestedAt === undefined
      ? null
      : awaitsWorker(job)
      ? OPEN_CANCEL_AT
      : job.cancelRequestedAt,
  };
}

function rowOf(job: Job, columns: JobColumns): JobRow {
  const { payload: _payload, resultJson: _result, ...summary } = job;
  return { ...columns, summary: JSON.stringify(summary) };
}

function differ(a: JobColumns, b: JobColumns): boolean {
  return a.state !== b.state || a.dueAt !== b.dueAt || a.expiresAt !== b.expiresAt ||
    a.finishedAt !== b.finishedAt || a.deadAt !== b.deadAt || a.cancelAt !== b.cancelAt ||
    a.createdAt !== b.createdAt || a.task !== b.task;
}

export function readSummary(text: string): JobSummary {
  return JSON.parse(text) as JobSummary;
}

export function wholeJob(summary: string, payload: string | null, result: string | null): Job {
  return {
    ...readSummary(summary),
    ...(payload === null ? {} : { payload: JSON.parse(payload) as NonNullable<Job["payload"]> }),
    ...(result === null ? {} : { resultJson: result }),
  };
}

/**
 * Applies a batch to what is there.
 * @param known jobs as they were read, by id.
 * @returns a change for each job that an event speaks of, in the order of first mention; `isChanged`
 *   says which are to be written.
 */
export function applyBatch(
  known: ReadonlyMap<string, KnownJob>,
  events: readonly JobEvent[],
  maxResultBytes: number,
): readonly Change[] {
  const jobs = new Map<string, Job>();
  for (const event of events) {
    const job = jobs.get(event.id) ?? known.get(event.id)?.job;
    jobs.set(event.id, applyEvent(job, withinLimits(event, maxResultBytes)));
  }
  return Array.from(jobs.values(), (job) => changeOf(known.get(job.id), job));
}

export function isChanged({ row, before }: Change): boolean {
  return row.summary !== before?.summary;
}

function changeOf(before: KnownJob | undefined, job: Job): Change {
  const key = job.terms?.uniqueKey;
  const wasOpen = before !== undefined && before.job.terms?.uniqueKey !== undefined &&
    !isFinal(before.job.state);
  const isOpen = key !== undefined && !isFinal(job.state);
  const columns = columnsOf(job);
  return {
    row: rowOf(job, columns),
    job,
    before,
    moves: before === undefined || differ(columnsOf(before.job), columns),
    payload: job.payload === undefined ? undefined : JSON.stringify(job.payload),
    result: resultChange(before, job),
    claims: isOpen && !wasOpen ? [key] : [],
    releases: key !== undefined && !isOpen && (wasOpen || before === undefined) ? [key] : [],
  };
}

function resultChange(before: KnownJob | undefined, job: Job): Change["result"] {
  if (job.resultJson !== undefined) return { set: job.resultJson };
  const isTheSame = before?.job.state === job.state &&
    before.job.firstAttempt === job.firstAttempt;
  return isTheSame ? "keep" : { set: null };
}
