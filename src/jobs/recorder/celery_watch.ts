/**
 * Looks after jobs that Celery's workers have and say nothing of: asks which of them run, ends those that
 * nobody has any more, and those that have expired before anybody began them. One recorder does it,
 * under the lease.
 *
 * A Celery worker that is killed loses what it ran (unless `acks_late`), and a task that keeps its
 * result to itself never answers: without this their jobs would be queued for ever.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Broker, QueueStatus } from "../../broker/broker.ts";
import { CELERY_REPLIES_QUEUE } from "../../broker/topology.ts";
import { celeryExpiry } from "../../calls/celery_expiry.ts";
import { CeleryInquiry, type Whereabouts } from "../../calls/celery_inquiry.ts";
import { encodeRevocation } from "../../calls/wire/control_message.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Store } from "../../store/store.ts";
import type { JobSummary } from "../job.ts";
import { type CeleryJobs, isCelerys } from "./celery_jobs.ts";
import type { CeleryFact } from "./celery_news.ts";
import type { PatientLoop } from "./patient_loop.ts";

const log = getLogger(["coxswain", "recorder"]);

const LOOK_EVERY_MS = 2_500;
/** A job is asked for so long after the last news of it, and then again and again. */
const QUIET_MS = 2_500;
const ASK_EVERY_MS = 5_000;
/** … where nothing has changed: each time twice as long, and at most so. */
const ASK_AT_LEAST_MS = 60_000;
/** Jobs that are asked for at once, one after the other. */
const BITE = 500;
/** More are not looked after, but for what their workers tell. */
const MAX_WATCHED = 50_000;
const PAGE = 500;
/** So often in a row nobody must have it: its message may be on the way from one to another. */
const STRIKES = 2;
/** As for jobs of our own workers. */
const EXPIRY_MARGIN_MS = 2_500;

export interface CeleryWatchOptions {
  readonly broker: Broker;
  readonly store: Store;
  readonly clock: Clock;
  readonly jobs: CeleryJobs;
}

interface Watched {
  /** Monotonic instant. */
  askAt: number;
  pauseMs: number;
  strikes: number;
}

const FRESH = { pauseMs: ASK_EVERY_MS / 2, strikes: 0 } as const;

export class CeleryWatch implements PatientLoop {
  readonly name = "Looking after Celery's jobs";
  readonly alarm: Alarm;
  readonly #options: CeleryWatchOptions;
  readonly #inquiry: CeleryInquiry;
  readonly #watched = new Map<string, Watched>();
  #isScanned = false;

  constructor(options: CeleryWatchOptions) {
    this.#options = options;
    this.#inquiry = new CeleryInquiry(options.broker, options.clock);
    this.alarm = new Alarm(options.clock);
  }

  /** The lease was taken anew. */
  begin(): void {
    this.#isScanned = false;
  }

  /** Jobs as they now are. */
  noticed(jobs: readonly JobSummary[]): void {
    for (const job of jobs) {
      if (!isCelerys(job)) continue;
      if (job.state !== "queued" && job.state !== "running") this.#watched.delete(job.id);
      else this.#watch(job.id);
    }
  }

  stop(): Promise<void> {
    return this.#inquiry.stop();
  }

  async turn(signal: AbortSignal): Promise<number> {
    const { broker, store, clock, jobs } = this.#options;
    if (!this.#isScanned) await this.#scan(signal);
    const now = clock.monotonic();
    const ids = [...this.#watched].filter(([, { askAt }]) => askAt <= now).slice(0, BITE)
      .map(([id]) => id);
    if (ids.length === 0 || signal.aborted) return LOOK_EVERY_MS;
    const places = new Map(
      await Promise.all(ids.map(async (id) => [id, await this.#inquiry.find(id)] as const)),
    );
    // After the workers were asked: what one has answered since is there to be recorded first.
    const replies = await broker.inspectQueue(CELERY_REPLIES_QUEUE.name);
    const found = await store.getMany(ids);
    const queues = await this.#queuesOf(found);
    for (const job of found) {
      const watched = this.#watched.get(job.id);
      const place = places.get(job.id);
      if (watched === undefined || place === undefined) continue;
      const isQuiet = replies?.messages === 0 && !jobs.holds(job.id);
      this.#watched.delete(job.id);
      this.#watched.set(job.id, watched);
      await this.#judge(job, watched, place, queues.get(job.queue), isQuiet);
      watched.pauseMs = watched.strikes > 0
        ? ASK_EVERY_MS
        : Math.min(watched.pauseMs * 2, ASK_AT_LEAST_MS);
      watched.askAt = clock.monotonic() + watched.pauseMs;
    }
    return LOOK_EVERY_MS;
  }

  async #judge(
    job: JobSummary,
    watched: Watched,
    place: Whereabouts,
    queue: QueueStatus | undefined,
    isQuiet: boolean,
  ): Promise<void> {
    const { broker, clock } = this.#options;
    if (job.state !== "queued" && job.state !== "running") {
      this.#watched.delete(job.id);
      return;
    }
    if (place.kind === "active") {
      watched.strikes = 0;
      this.#tell(job, { kind: "started", node: place.node }, place.startedAt);
      return;
    }
    const isOver = (job.terms?.expiresAt ?? Infinity) < clock.now() - EXPIRY_MARGIN_MS;
    if (isOver && job.state === "queued" && celeryExpiry(place.kind, queue) === "expired") {
      // A Celery worker that holds it has looked at its expiry already.
      await broker.publish(encodeRevocation({ ids: [job.id], terminate: true }));
      this.#tell(job, { kind: "ended", outcome: { kind: "expired" } });
      return;
    }
    const isNowhere = place.kind !== "reserved" && (queue?.messages ?? 0) === 0 &&
      (place.kind === "unseen" || (queue?.consumers ?? 0) === 0);
    watched.strikes = isNowhere && isQuiet ? watched.strikes + 1 : 0;
    if (watched.strikes < STRIKES) return;
    log.warn("A job has gone with a Celery worker, or its task gives no result", {
      jobId: job.id,
      task: job.task,
      queue: job.queue,
    });
    this.#tell(job, {
      kind: "ended",
      outcome: {
        kind: "failed",
        error: {
          type: NO_RESULT,
          message:
            "No Celery worker has it any more, and no result came: its worker was lost, the " +
            "task keeps its result to itself (ignore_result, Ignore), or its results do not go " +
            "over rpc://",
        },
      },
    });
  }

  #tell({ id }: JobSummary, fact: CeleryFact, at = this.#options.clock.now()): void {
    this.#options.jobs.add({ id, at: Math.floor(at), isAnswer: false, fact }, false);
  }

  async #queuesOf(jobs: readonly JobSummary[]): Promise<ReadonlyMap<string, QueueStatus>> {
    const names = [...new Set(jobs.map(({ queue }) => queue))];
    const statuses = await Promise.all(
      names.map((name) => this.#options.broker.inspectQueue(name)),
    );
    return new Map(
      statuses.flatMap((status) => status === undefined ? [] : [[status.name, status]]),
    );
  }

  /** What was there before this recorder. */
  async #scan(signal: AbortSignal): Promise<void> {
    let cursor: string | undefined;
    do {
      const filter = { states: ["queued", "running"] } as const;
      const page = await this.#options.store.list(filter, PAGE, cursor);
      this.noticed(page.jobs);
      cursor = page.cursor;
    } while (cursor !== undefined && !signal.aborted && this.#watched.size < MAX_WATCHED);
    this.#isScanned = true;
  }

  #watch(id: string): void {
    if (this.#watched.size >= MAX_WATCHED) return;
    const askAt = this.#options.clock.monotonic() + QUIET_MS;
    const watched = this.#watched.get(id);
    if (watched === undefined) this.#watched.set(id, { ...FRESH, askAt });
    else Object.assign(watched, FRESH, { askAt });
  }
}

/** Whether it ran is not known. */
const NO_RESULT = "NoResult";
