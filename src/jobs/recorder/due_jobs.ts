/**
 * Publishes jobs whose time has come: delays, retries, what an operator tries again, and what was
 * accepted by somebody who died before he had published it. One recorder does it, under the lease.
 *
 * A job is published, then recorded as published; who dies in between leaves one page of jobs of which
 * nobody knows. They are published again, marked as such, and told so as redelivered ones are.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Broker, PublishResult } from "../../broker/broker.ts";
import { BrokerAwayError, DeclarationError, PublishRefusedError } from "../../broker/errors.ts";
import type { Message } from "../../broker/message.ts";
import { CELERY_REPLIES_QUEUE, taskQueue } from "../../broker/topology.ts";
import { COX } from "../../calls/wire/names.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Store } from "../../store/store.ts";
import { VERSION } from "../../version.ts";
import type { Job } from "../job.ts";
import { dueAttempt, eventBase, type JobEvent, publishedEvent } from "../job_event.ts";
import { jobMessage } from "../job_message.ts";
import type { PatientLoop } from "./patient_loop.ts";

const log = getLogger(["coxswain", "recorder"]);

/** Others may have recorded something that nobody told us of. */
const POLL_MS = 1_000;
/** Jobs of one page; fewer where they are large. */
const PAGE = { first: 16, max: 256, budgetBytes: 16 * 2 ** 20 } as const;
/** Before it is looked again whether what was told has been recorded. */
const BEHIND_PAUSE_MS = 100;
/** A job that cannot be published is tried again after these pauses, and then given up. */
const REFUSED_PAUSES_MS: readonly number[] = [1_000, 5_000, 30_000];
/** Of more that cannot be published, the further ones are given up at once. */
const MAX_REFUSED = 1_000;

export interface DueJobsOptions {
  readonly broker: Broker;
  readonly store: Store;
  readonly node: string;
  readonly queueType: "classic" | "quorum";
  readonly clock: Clock;
  /** Whether all has been recorded that was told until a moment ago. */
  readonly isCaughtUp: () => Promise<boolean>;
  /** Told of each job that was published or given up, with the event that says so. */
  readonly recorded: (jobs: readonly Job[], events: readonly JobEvent[]) => void;
}

interface Refused {
  readonly tries: number;
  /** Epoch milliseconds. */
  readonly again: number;
}

type Published =
  | { readonly kind: "published" }
  | { readonly kind: "expired" }
  | { readonly kind: "unknown"; readonly error: BrokerAwayError }
  | { readonly kind: "refused"; readonly reason: string };

export class DueJobs implements PatientLoop {
  readonly name = "Publishing due jobs";
  readonly alarm: Alarm;
  readonly #options: DueJobsOptions;
  #pageSize: number = PAGE.first;
  readonly #refused = new Map<string, Refused>();
  /** Published, and not recorded as such yet: nothing else goes before. */
  #unrecorded: readonly JobEvent[] = [];
  /** Ids of which nobody knows whether they were published already. */
  readonly #uncertain = new Set<string>();
  /** What was due before may have been published by whoever had the lease then, … */
  #begunAt = -Infinity;
  /** … as far as it belongs to the page that he was at. */
  #suspects = 0;

  constructor(options: DueJobsOptions) {
    this.#options = options;
    this.alarm = new Alarm(options.clock);
  }

  /** The lease was taken anew. */
  begin(): void {
    this.#begunAt = this.#options.clock.now();
    this.#suspects = PAGE.max;
  }

  /** A job is due at this instant. */
  expect(dueAt: number): void {
    this.alarm.ringWithin(dueAt - this.#options.clock.now());
  }

  async turn(signal: AbortSignal): Promise<number> {
    const { store, clock } = this.#options;
    await this.#recordPublished();
    const now = clock.now();
    const page = await store.due(now, this.#pageSize + this.#refused.size);
    const ready = page.filter(({ id }) => (this.#refused.get(id)?.again ?? 0) <= now);
    const jobs = await this.#withoutThoseOnTheirWay(ready);
    for (const { id, dueAt = now } of jobs) {
      if (this.#suspects > 0 && dueAt < this.#begunAt) this.#uncertain.add(id);
      this.#suspects--;
    }
    if (signal.aborted) return 0;
    if (jobs.length === 0 && ready.length > 0) return BEHIND_PAUSE_MS;
    if (jobs.length === 0) return await this.#untilNext(now, page.length > 0);
    await this.#publishAll(jobs, now);
    this.#sizePage(jobs);
    return 0;
  }

  /**
   * Who accepts a job with a key publishes it himself, and tells so: as long as that news may be on its
   * way, the job would be published twice.
   */
  async #withoutThoseOnTheirWay(jobs: readonly Job[]): Promise<readonly Job[]> {
    const isOthers = ({ state, terms }: Job) =>
      state === "scheduled" && terms?.etaAt === undefined &&
      (terms?.uniqueKey ?? terms?.idempotencyKey) !== undefined;
    if (!jobs.some(isOthers) || await this.#options.isCaughtUp()) return jobs;
    return jobs.filter((job) => !isOthers(job));
  }

  async #untilNext(now: number, isSomeRefused: boolean): Promise<number> {
    if (isSomeRefused) {
      const again = Math.min(...Array.from(this.#refused.values(), (refused) => refused.again));
      return Math.min(POLL_MS, Math.max(0, again - now));
    }
    this.#refused.clear();
    const nextAt = await this.#options.store.nextDueAt() ?? Infinity;
    return Math.min(POLL_MS, Math.max(0, nextAt - this.#options.clock.now()));
  }

  async #publishAll(jobs: readonly Job[], now: number): Promise<void> {
    const { clock } = this.#options;
    const underway: { readonly job: Job; readonly published: Promise<Published> }[] = [];
    for (const job of jobs) {
      // One after the other, so that they keep their order; the confirms come together.
      underway.push({ job, published: this.#publish(job, now, await this.#messageOf(job)) });
    }
    const events: JobEvent[] = [];
    let away: BrokerAwayError | undefined;
    for (const { job, published } of underway) {
      const result = await published;
      if (result.kind !== "refused") this.#refused.delete(job.id);
      if (result.kind === "published") this.#uncertain.delete(job.id);
      switch (result.kind) {
        case "published":
          events.push(publishedEvent(job, clock.now()));
          break;
        case "expired":
          events.push(expiredEvent(job, now));
          break;
        case "unknown":
          this.#uncertain.add(job.id);
          away = result.error;
          break;
        case "refused":
          events.push(...this.#afterRefusal(job, result.reason));
      }
    }
    this.#unrecorded = events;
    await this.#recordPublished();
    if (away !== undefined) throw away;
  }

  async #recordPublished(): Promise<void> {
    const events = this.#unrecorded;
    if (events.length === 0) return;
    const jobs = await this.#options.store.recordEvents(events);
    this.#unrecorded = [];
    this.#options.recorded(jobs, events);
  }

  /** @returns the message, or why there can be none. */
  async #messageOf(job: Job): Promise<Message | string> {
    if (job.payload === undefined) return "its record does not say what the task is called with";
    const message = await jobMessage(job, dueAttempt(job), {
      node: this.#options.node,
      version: VERSION,
    });
    // Of a run again: whoever ran it before may have kept the retry himself, and published it.
    const mayBeThere = job.state === "retrying" && job.redelivered;
    if (!mayBeThere && !this.#uncertain.has(job.id)) return message;
    const { properties } = message;
    const headers = { ...properties.headers, [COX.again]: true };
    return { ...message, properties: { ...properties, headers } };
  }

  /** @param message or why there is none. */
  async #publish(
    { id, queue, terms }: Job,
    now: number,
    message: Message | string,
  ): Promise<Published> {
    if ((terms?.expiresAt ?? Infinity) <= now) return { kind: "expired" };
    if (typeof message === "string") return { kind: "refused", reason: message };
    const { broker, queueType } = this.#options;
    const publish = (): Promise<PublishResult> =>
      broker.publish(message, { confirm: true, mandatory: true });
    try {
      if (await publish() !== "returned") return { kind: "published" };
      // Declared in our way, Celery's workers could not declare it in theirs.
      if (terms?.replyTo === CELERY_REPLIES_QUEUE.name) {
        return { kind: "refused", reason: `there is no queue "${queue}": its workers declare it` };
      }
      // No worker of it has ever been there. Theirs would be the same queue.
      log.info("Declared queue {queue}, for a job that is due", { queue, jobId: id });
      await broker.declareQueue(taskQueue(queue, queueType));
      if (await publish() !== "returned") return { kind: "published" };
      return { kind: "refused", reason: `there is no queue "${queue}"` };
    } catch (error) {
      if (error instanceof BrokerAwayError) return { kind: "unknown", error };
      if (error instanceof PublishRefusedError || error instanceof DeclarationError) {
        return { kind: "refused", reason: error.message };
      }
      throw error;
    }
  }

  #afterRefusal(job: Job, reason: string): readonly JobEvent[] {
    const { clock } = this.#options;
    const tries = this.#refused.get(job.id)?.tries ?? 0;
    const pauseMs = REFUSED_PAUSES_MS[tries];
    const isFull = tries === 0 && this.#refused.size >= MAX_REFUSED;
    if (pauseMs !== undefined && !isFull) {
      log.warn("A due job cannot be published yet: {reason}", { reason, jobId: job.id });
      this.#refused.set(job.id, { tries: tries + 1, again: clock.now() + pauseMs });
      return [];
    }
    log.error("A due job cannot be published, and is given up: {reason}", {
      reason,
      jobId: job.id,
    });
    this.#refused.delete(job.id);
    const message = `It cannot be published: ${reason}`;
    return [{
      ...eventBase(job, clock.now()),
      kind: "dead_lettered",
      reason: message,
      error: { type: "CannotPublish", message },
      settles: false,
    }];
  }

  #sizePage(jobs: readonly Job[]): void {
    const characters = jobs.reduce((sum, { payload }) => sum + sizeOf(payload), 0);
    const fitting = Math.floor(PAGE.budgetBytes / (characters / jobs.length + 1));
    this.#pageSize = Math.max(1, Math.min(this.#pageSize * 2, fitting, PAGE.max));
  }
}

function sizeOf(payload: Job["payload"]): number {
  if (payload === undefined) return 0;
  const { input, embedJson = "" } = payload;
  return input.argsJson.length + input.kwargsJson.length + embedJson.length;
}

/** It had not begun to run when its time was over. */
export function expiredEvent(job: Parameters<typeof eventBase>[0], now: number): JobEvent {
  return { ...eventBase(job, now), kind: "outcome", outcome: { kind: "expired" }, settles: false };
}
