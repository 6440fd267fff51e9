/**
 * What operators do to jobs, dead letters and schedules, whatever way they ask. Each says what came of
 * it; all throw StoreAwayError where the store is away, and BrokerAwayError where the broker is needed
 * and away. Nothing is left half done by either that asking again would not mend.
 */
import type { Broker } from "../broker/broker.ts";
import { PublishRefusedError } from "../broker/errors.ts";
import { encodeRevocation } from "../calls/wire/control_message.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import { destinationOf, NO_ROUTES, type TaskRoutes } from "../nodes/routes.ts";
import { newId } from "../platform/ids.ts";
import type { Store } from "../store/store.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import { nextFiringAt } from "../tasks/schedule.ts";
import { JobEventPublisher } from "./event_publisher.ts";
import { isFinal, type Job, type JobSummary } from "./job.ts";
import { eventBase, type JobEvent } from "./job_event.ts";
import { tellDue } from "./questions.ts";
import { readStoredMessage, secondChance } from "./recorder/stored_message.ts";
import { answerWaitingClient } from "./waiting_client.ts";
import { scheduledJob, type ScheduleView, viewSchedule } from "./schedules.ts";
import { nextRound } from "./states.ts";

/** Watchers are told of it if the broker is there. */
const TELL_PATIENCE_MS = 2_000;
const PAGE = 200;
/** Whole records that are in memory at once. */
const AT_ONCE = 20;
/** Dead letters that one request tries again or deletes. */
export const MAX_AT_ONCE = 10_000;

export interface JobOperationsOptions {
  readonly broker: Broker;
  readonly store: Store;
  /** Which queue a task is taken from; `NodesChannel` is one. */
  readonly directory: { descriptor(task: string): TaskDescriptor | undefined };
  /** Default: none. */
  readonly routes?: TaskRoutes;
  /**
   * Finds a job, also one whose record is still on its way. Default: in the store.
   * @throws StoreAwayError
   */
  readonly find?: (id: string) => Promise<JobSummary | undefined>;
  readonly clock?: Clock;
}

export type CancelEnding =
  /** It will not run: whoever finds its message refuses it. */
  | { readonly kind: "cancelled"; readonly job: JobSummary }
  /** It runs: its `context.signal` aborts, and after the grace time it is killed. */
  | { readonly kind: "stopping"; readonly job: JobSummary }
  /** It had ended before. */
  | { readonly kind: "finished"; readonly job: JobSummary }
  | { readonly kind: "unknown_job"; readonly id: string };

export type RetryEnding =
  /** It is to be published at once. */
  | { readonly kind: "retried"; readonly job: JobSummary }
  /** A message that is no job of ours: it is in its queue again, and has no record any more. */
  | { readonly kind: "sent_back"; readonly id: string; readonly queue: string }
  | { readonly kind: "not_finished"; readonly job: JobSummary }
  /** It cannot be tried again, and why. */
  | { readonly kind: "refused"; readonly id: string; readonly reason: string }
  | { readonly kind: "unknown_job"; readonly id: string };

export interface ManyRetried {
  readonly retried: number;
  /** Those that could not be. */
  readonly refused: readonly { readonly id: string; readonly reason: string }[];
}

export type RunEnding =
  | { readonly kind: "started"; readonly id: string }
  | { readonly kind: "unknown_schedule"; readonly name: string };

export type SteerEnding =
  | { readonly kind: "done"; readonly schedule: ScheduleView }
  | { readonly kind: "unknown_schedule"; readonly name: string };

export class JobOperations {
  readonly #options: JobOperationsOptions;
  readonly #clock: Clock;
  readonly #events: JobEventPublisher;

  constructor(options: JobOperationsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#events = new JobEventPublisher({
      broker: options.broker,
      patienceMs: TELL_PATIENCE_MS,
    });
  }

  /** Asks for a job not to run, or to be stopped where it runs. Asking twice is fine. */
  async cancel(id: string): Promise<CancelEnding> {
    const { broker } = this.#options;
    const known = await this.#find(id);
    if (known === undefined) return { kind: "unknown_job", id };
    if (isFinal(known.state) && known.state !== "cancelled") {
      return { kind: "finished", job: known };
    }
    const job = await this.#record({
      ...eventBase(known, this.#clock.now()),
      kind: "cancel_requested",
    });
    // Once it is recorded: a worker that starts now asks, and all others hear it.
    await broker.publish(encodeRevocation({ ids: [id], terminate: true }));
    if (job.state === "cancelled") {
      if (!isFinal(known.state)) await answerWaitingClient(broker, job);
      return { kind: "cancelled", job };
    }
    return isFinal(job.state) ? { kind: "finished", job } : { kind: "stopping", job };
  }

  /** Tries a job again that has ended, however it ended, with all its attempts. */
  async retry(id: string): Promise<RetryEnding> {
    const ending = await this.#retry(id);
    if (ending.kind === "retried") await tellDue(this.#options.broker, this.#clock.now());
    return ending;
  }

  async #retry(id: string): Promise<RetryEnding> {
    const job = await this.#options.store.get(id);
    if (job === undefined) return { kind: "unknown_job", id };
    if (!isFinal(job.state)) return { kind: "not_finished", job };
    const { payload } = job;
    if (payload === undefined) {
      return { kind: "refused", id, reason: "Its record does not say what it was called with" };
    }
    if (payload.wireJson !== undefined) return await this.#sendBack(job, payload.wireJson);
    const now = this.#clock.now();
    const attempt = nextRound(job);
    const retried = await this.#record({
      ...eventBase(job, now),
      kind: "retried",
      attempt,
      firstAttempt: attempt,
      seq: Math.floor(now),
      dueAt: now,
    });
    return { kind: "retried", job: retried };
  }

  /**
   * Tries dead letters again, at most 10,000.
   * @param filter a task's alone; default: all.
   */
  async retryDeadLetters(filter: { readonly task?: string } = {}): Promise<ManyRetried> {
    const refused: { id: string; reason: string }[] = [];
    let retried = 0;
    const ids = await this.#deadLetterIds(filter);
    for (let start = 0; start < ids.length; start += AT_ONCE) {
      // Side by side, so that the store writes them together.
      const some = ids.slice(start, start + AT_ONCE);
      for (const ending of await Promise.all(some.map((id) => this.#retry(id)))) {
        switch (ending.kind) {
          case "retried":
          case "sent_back":
            retried++;
            break;
          case "refused":
            refused.push({ id: ending.id, reason: ending.reason });
            break;
          case "not_finished":
          case "unknown_job":
            // Somebody else has just done it.
            break;
        }
      }
    }
    await tellDue(this.#options.broker, this.#clock.now());
    return { retried, refused };
  }

  /** Deletes a finished job's record. @returns whether it was there. */
  async delete(id: string): Promise<boolean> {
    return await this.#options.store.deleteFinished([id]) > 0;
  }

  /**
   * Deletes dead letters, at most 10,000.
   * @param filter a task's alone; default: all.
   * @returns how many.
   */
  async purgeDeadLetters(filter: { readonly task?: string } = {}): Promise<number> {
    const ids = await this.#deadLetterIds(filter);
    let deleted = 0;
    for (let start = 0; start < ids.length; start += PAGE) {
      deleted += await this.#options.store.deleteFinished(ids.slice(start, start + PAGE));
    }
    return deleted;
  }

  /** Sorted by name. */
  async schedules(): Promise<readonly ScheduleView[]> {
    const schedules = await this.#options.store.schedules();
    return schedules.map((schedule) => viewSchedule(schedule, this.#clock.now()));
  }

  /** Makes a schedule's job now, besides its firings; also of one that is paused. */
  async runSchedule(name: string): Promise<RunEnding> {
    const { store, broker, directory, routes = NO_ROUTES } = this.#options;
    const schedule = (await store.schedules()).find((one) => one.name === name);
    if (schedule === undefined) return { kind: "unknown_schedule", name };
    const id = newId();
    const now = this.#clock.now();
    const { task } = schedule;
    const destination = destinationOf(task, undefined, directory.descriptor(task), routes);
    await this.#record(scheduledJob(schedule, { id, now, destination }));
    await tellDue(broker, now);
    return { kind: "started", id };
  }

  /** It does not fire until it is resumed; what it misses meanwhile is not caught up. */
  pauseSchedule(name: string): Promise<SteerEnding> {
    return this.#steer(name, true);
  }

  resumeSchedule(name: string): Promise<SteerEnding> {
    return this.#steer(name, false);
  }

  async #steer(name: string, isPaused: boolean): Promise<SteerEnding> {
    const { store } = this.#options;
    const find = async () => (await store.schedules()).find((one) => one.name === name);
    const schedule = await find();
    if (schedule === undefined) return { kind: "unknown_schedule", name };
    const now = this.#clock.now();
    // Again: nothing changes, and its next instant stays.
    if (schedule.isPaused !== isPaused) {
      await store.pauseSchedule(name, isPaused, nextFiringAt(schedule.spec, now));
    }
    return { kind: "done", schedule: viewSchedule(await find() ?? schedule, now) };
  }

  async #sendBack(job: Job, wireJson: string): Promise<RetryEnding> {
    const { id, queue } = job;
    const stored = readStoredMessage(wireJson);
    if (stored === undefined) {
      return { kind: "refused", id, reason: "Its record does not hold its whole message" };
    }
    const { broker, store } = this.#options;
    try {
      const message = secondChance(stored, queue);
      const result = await broker.publish(message, { confirm: true, mandatory: true });
      if (result === "returned") {
        return { kind: "refused", id, reason: `There is no queue "${queue}" any more` };
      }
    } catch (error) {
      if (!(error instanceof PublishRefusedError)) throw error;
      return { kind: "refused", id, reason: error.message };
    }
    await store.deleteFinished([id]);
    return { kind: "sent_back", id, queue };
  }

  async #deadLetterIds({ task }: { readonly task?: string }): Promise<readonly string[]> {
    const filter = { isDeadLetter: true, ...(task === undefined ? {} : { task }) };
    const ids: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.#options.store.list(filter, PAGE, cursor);
      ids.push(...page.jobs.map(({ id }) => id));
      cursor = page.cursor;
    } while (cursor !== undefined && ids.length < MAX_AT_ONCE);
    return ids.slice(0, MAX_AT_ONCE);
  }

  async #find(id: string): Promise<JobSummary | undefined> {
    const { store, find = (one: string) => store.get(one) } = this.#options;
    return await find(id);
  }

  /** Written to the store before the answer, and told to whoever watches the job. */
  async #record(event: JobEvent): Promise<JobSummary> {
    const [job] = await this.#options.store.recordEvents([event]);
    if (job === undefined) throw new Error(`The store did not record job ${event.id}`);
    this.#events.tell(event);
    return job;
  }
}
