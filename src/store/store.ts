/**
 * PORT: all that the program asks of the place where job records live, in the domain's words. Adapters
 * stand beside it in sqlite/ and postgres/; tests/conformance/store says what each of them must do.
 *
 * Of every method: it rejects with StoreAwayError where the store cannot be reached or does not answer
 * in time (a write may then have been done all the same; each is safe to repeat), before `open` and
 * after `close`; with StoreRefusedError where only a person can help. None takes a signal: an adapter
 * bounds how long each may take. Instants are epoch milliseconds.
 */
import type { Job, JobState, JobSummary } from "../jobs/job.ts";
import type { BeginningEvent, JobEvent } from "../jobs/job_event.ts";
import type { ScheduleSpec } from "../tasks/schedule.ts";
import type { DeviceStore } from "./device_store.ts";

export interface NewJob {
  readonly event: BeginningEvent;
  readonly idempotency?: {
    readonly key: string;
    /** Stands for what was asked: the same key with another fingerprint is a conflict. */
    readonly fingerprint: string;
  };
}

export type Created =
  | { readonly kind: "created"; readonly job: Job }
  /** The same was asked before, or an unfinished job has its unique key: this is that job. */
  | { readonly kind: "existing"; readonly id: string; readonly by: "idempotency" | "unique" }
  /** Its idempotency key was used with another request, for this job. */
  | { readonly kind: "conflict"; readonly id: string };

export interface JobFilter {
  /** Any of these; absent or empty: all. */
  readonly states?: readonly JobState[];
  readonly task?: string;
  /** Only dead letters. */
  readonly isDeadLetter?: boolean;
}

export interface JobPage {
  readonly jobs: readonly JobSummary[];
  /** Where the next page begins; absent on the last one. */
  readonly cursor?: string;
}

/** A cursor that `list` did not make. */
export class BadCursorError extends Error {
  override readonly name = "BadCursorError";
}

export interface StoredSchedule {
  readonly name: string;
  readonly spec: ScheduleSpec;
  readonly task: string;
  /** Input as JSON text, as in the body of a request. */
  readonly input: string;
  /** Where it is defined, for people. */
  readonly file: string;
  readonly isPaused: boolean;
  /** When a worker last announced it. */
  readonly announcedAt: number;
  /** The instant that it last fired for, and the job that it made. */
  readonly lastFiredAt?: number;
  readonly lastJobId?: string;
  /** Absent: it does not fire (any more). */
  readonly nextAt?: number;
}

/** What an announcement says of a schedule. */
export type AnnouncedSchedule = Pick<
  StoredSchedule,
  "name" | "spec" | "task" | "input" | "file" | "announcedAt" | "nextAt"
>;

export interface Lease {
  /** Whether the one who asked holds it now. */
  readonly isHeld: boolean;
  readonly holder: string;
  /** How long it lasts unless it is renewed, by the store's clock. */
  readonly leftMs: number;
  /** Grows with each change of holder. */
  readonly term: number;
}

export interface StoreStats {
  /** Every state, with zero where there is none. */
  readonly byState: Readonly<Record<JobState, number>>;
  readonly deadLetters: number;
}

export interface Retention {
  /** Finished jobs that ended before this go, unless they are dead letters. */
  readonly finishedBefore: number;
  /** Dead letters from before this go. */
  readonly deadLetteredBefore: number;
  /**
   * A cancelled job whose message may still lie in a queue stays until this, however long ago it
   * ended: workers must be able to learn of it.
   */
  readonly cancelledBefore: number;
}

export interface Store extends DeviceStore {
  /** Where it is, for people: without a password. */
  readonly place: string;
  /** Whether several nodes may use it at once; else it belongs to one process. */
  readonly isShared: boolean;

  /**
   * Opens it and brings its tables up to this version, once for all who try at the same time.
   * Idempotent.
   * @throws StoreRefusedError: wrong password, no database of this kind, held by another process, or
   *   written by a newer version.
   */
  open(): Promise<void>;
  /** Lets what is under way end, then closes. Idempotent; also before `open`. */
  close(): Promise<void>;
  /** Whether it answers now. */
  ping(): Promise<void>;

  /**
   * Applies events to their jobs, all or none, in the order given, and makes the jobs that are not
   * there. On disk when it resolves. Idempotent: an event that was applied before changes nothing.
   * @param events any number; a few hundred are quickest.
   * @returns each job that an event spoke of, once, as it now is, in the order of first mention. Its
   *   payload and result are there only where an event of this batch brought them.
   */
  recordEvents(events: readonly JobEvent[]): Promise<readonly Job[]>;

  /**
   * Makes jobs unless their keys say that they are there already; all judged in order, in one
   * transaction. Idempotent by the jobs' ids: one that is there is told as created.
   *
   * A job whose message is not in a queue yet must be made with a `scheduled` event: should whoever
   * makes it die before publishing it, the recorder does so when it is due.
   * @param keysSince idempotency keys that were used before this are forgotten.
   */
  create(jobs: readonly NewJob[], keysSince: number): Promise<readonly Created[]>;

  /** The whole record, or undefined. */
  get(id: string): Promise<Job | undefined>;
  /** Summaries of those that are there, in any order. At most 1,000 ids. */
  getMany(ids: readonly string[]): Promise<readonly JobSummary[]>;
  /**
   * Youngest first, by creation and then by id. Following cursors shows each job at most once, and each
   * that was there at the beginning and still fits the filter; younger ones do not show.
   * @param limit 1 to 1,000.
   * @param cursor of the page before.
   * @throws BadCursorError
   */
  list(filter: JobFilter, limit: number, cursor?: string): Promise<JobPage>;

  /**
   * Whole records of `scheduled` and `retrying` jobs whose time has come, the longest due first. Whoever
   * publishes one records its `publishedEvent`, and until then it is told again.
   */
  due(now: number, limit: number): Promise<readonly Job[]>;
  /** When the next job is due; undefined: none waits. May lie in the past. */
  nextDueAt(): Promise<number | undefined>;
  /** Jobs that have not begun to run and whose `expiresAt` has passed, in that order. */
  overdue(now: number, limit: number): Promise<readonly JobSummary[]>;
  /**
   * Jobs that must not run: a cancel was asked for after `since`, or their messages may still lie in a
   * queue. At most 100,000, the youngest.
   */
  cancelledIds(since: number): Promise<readonly string[]>;

  /**
   * Deletes jobs by id, with all that belongs to them; those that have not ended stay.
   * @returns how many were deleted.
   */
  deleteFinished(ids: readonly string[]): Promise<number>;
  /**
   * Deletes finished jobs that are too old, the oldest first, in one short transaction; also forgets as
   * many idempotency keys from before `keysSince`.
   * @returns how many jobs were deleted: as many as `limit`, and there may be more.
   */
  deleteOld(retention: Retention, keysSince: number, limit: number): Promise<number>;

  /**
   * Enters announced schedules, or renews them: pause and last firing stay, and so does a `nextAt`
   * unless the rhythm is another one. An announcement older than the one that is there does nothing.
   */
  announceSchedules(schedules: readonly AnnouncedSchedule[]): Promise<void>;
  /** Sorted by name. */
  schedules(): Promise<readonly StoredSchedule[]>;
  /**
   * Fires once for the whole cluster: where the schedule's `nextAt` is still `dueAt` and it is not
   * paused, its next instant is set and the job, if one is given, made in the same transaction.
   * @param nextAt undefined: it never fires again.
   * @returns whether this call fired it.
   */
  fireSchedule(
    name: string,
    dueAt: number,
    nextAt: number | undefined,
    job: BeginningEvent | undefined,
  ): Promise<boolean>;
  /** @returns false where there is no such schedule. `nextAt` is set anew when it goes on. */
  pauseSchedule(name: string, isPaused: boolean, nextAt: number | undefined): Promise<boolean>;
  /** @returns whether it was there. */
  deleteSchedule(name: string): Promise<boolean>;

  /**
   * Takes a lease, or renews one's own, where nobody else holds it; by the store's own clock.
   * @param ttlMs how long it lasts from now on.
   */
  acquireLease(name: string, holder: string, ttlMs: number): Promise<Lease>;
  /** Gives it up; nothing happens where somebody else holds it. */
  releaseLease(name: string, holder: string): Promise<void>;

  stats(): Promise<StoreStats>;
}
