/**
 * Records what Celery's workers tell of jobs: drains `cox.celery-replies`, and hears `celeryev` while this
 * recorder leads. An answer is acked once it is recorded.
 *
 * News need the job's record, which may be on its way: they wait for it. The end that an event tells of
 * waits for the answer, which has the result.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Broker } from "../../broker/broker.ts";
import type { Delivery } from "../../broker/message.ts";
import { CELERY_EVENTS_EXCHANGE, CELERY_REPLIES_QUEUE } from "../../broker/topology.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { StoreAwayError } from "../../store/errors.ts";
import type { Store } from "../../store/store.ts";
import type { Job, JobSummary } from "../job.ts";
import type { JobEvent } from "../job_event.ts";
import { withinLimits } from "../limits.ts";
import { applyEvent } from "../states.ts";
import { type CeleryNews, readCeleryEvents, readCeleryReply } from "./celery_news.ts";
import { celeryEvents } from "./celery_story.ts";
import { HeldDeliveries } from "./held_deliveries.ts";
import type { PatientLoop } from "./patient_loop.ts";

const log = getLogger(["coxswain", "recorder"]);

const PREFETCH = 200;
/** News of one transaction. */
const BITE = 200;
/** Until a job's record has come; longer while the recorder is behind. */
const RECORD_PATIENCE_MS = 10_000;
/** Until the answer has come where an event tells of the end. */
const ANSWER_PATIENCE_MS = 5_000;
/** Ever more rarely: calls have no records, and their news must not stand before those that have. */
const LOOK_AGAIN_MS = 100;
const MAX_LOOK_AGAIN_MS = 2_000;
/** Events besides answers: others are lost, and the answers tell how it ended. */
const MAX_EVENTS_HELD = 20_000;

export interface CeleryJobsOptions {
  readonly broker: Broker;
  readonly store: Store;
  readonly clock: Clock;
  /** Whether all has been recorded that was told until a moment ago. */
  readonly isCaughtUp: () => Promise<boolean>;
  /** Told of each job that news have changed, with the events that say so. */
  readonly recorded: (jobs: readonly Job[], events: readonly JobEvent[]) => void;
}

interface Held {
  readonly news: CeleryNews;
  /** An answer, to be acked. */
  readonly delivery: Delivery | undefined;
  /** Monotonic instants: when its record is looked for next, and until when. Written by the loop. */
  notBefore: number;
  readonly waitUntil: number;
  /** How long it is left alone after it was looked for in vain. */
  pauseMs: number;
}

/** Whether it went where no worker of ours takes its task: Celery's workers are to answer for it. */
export function isCelerys({ terms }: Pick<JobSummary, "terms">): boolean {
  return terms?.replyTo === CELERY_REPLIES_QUEUE.name;
}

export class CeleryJobs implements PatientLoop {
  readonly name = "Recording what Celery's workers tell";
  readonly alarm: Alarm;
  readonly #options: CeleryJobsOptions;
  readonly #deliveries: HeldDeliveries;
  #held: Held[] = [];

  constructor(options: CeleryJobsOptions) {
    this.#options = options;
    this.alarm = new Alarm(options.clock);
    this.#deliveries = new HeldDeliveries({
      broker: options.broker,
      queue: CELERY_REPLIES_QUEUE.name,
      prefetch: PREFETCH,
      loop: this,
      hold: (delivery) => this.#read(delivery),
      dropped: () => this.#held = [],
    });
  }

  /** News that are not recorded yet. */
  get held(): number {
    return this.#held.length;
  }

  /** Whether there are news of this job that are not recorded yet. */
  holds(id: string): boolean {
    return this.#held.some(({ news }) => news.id === id);
  }

  /** Begins, or goes on after a pause. */
  resume(): Promise<void> {
    return this.#deliveries.resume();
  }

  /** Gives back what is held and takes nothing more. */
  pause(): Promise<void> {
    return this.#deliveries.pause();
  }

  /** Gives back what is not recorded: the next recorder takes it. */
  stop(): Promise<void> {
    return this.#deliveries.stop();
  }

  /** Hears events until the signal aborts. */
  async hear(signal: AbortSignal): Promise<void> {
    const { broker } = this.#options;
    await broker.declareExchange(CELERY_EVENTS_EXCHANGE);
    const queue = await broker.openPrivateQueue({
      prefix: "cox.celeryev.",
      bindings: [{ exchange: CELERY_EVENTS_EXCHANGE.name, routingKey: "task.#" }],
    });
    const close = () => void queue.close();
    signal.addEventListener("abort", close, { once: true });
    if (signal.aborted) close();
    for await (const delivery of queue) {
      for (const news of readCeleryEvents(delivery)) this.add(news);
    }
    signal.removeEventListener("abort", close);
  }

  /** News that somebody else has heard, or made out. */
  add(news: CeleryNews, waitsForAnswer = true): void {
    if (this.#held.length >= MAX_EVENTS_HELD) return;
    const isEnd = news.fact.kind === "ended" || news.fact.kind === "retrying";
    this.#hold(news, undefined, isEnd && waitsForAnswer ? ANSWER_PATIENCE_MS : 0);
  }

  async turn(): Promise<number> {
    const { store, clock, isCaughtUp } = this.#options;
    const now = clock.monotonic();
    const ripe = this.#held.filter(({ notBefore }) => notBefore <= now).slice(0, BITE);
    if (ripe.length === 0) return this.#untilNext(now);
    const ids = [...new Set(ripe.map(({ news }) => news.id))];
    const known = new Map((await store.getMany(ids)).map((job) => [job.id, job]));
    const ready = ripe.filter(({ news }) => known.has(news.id));
    const unknown = ripe.filter(({ news }) => !known.has(news.id));
    await this.#record(ready, known);
    const late = unknown.filter(({ waitUntil }) => waitUntil <= now);
    if (late.length > 0 && await isCaughtUp()) this.#passOver(late);
    for (const held of unknown) {
      held.notBefore = now + held.pauseMs;
      held.pauseMs = Math.min(2 * held.pauseMs, MAX_LOOK_AGAIN_MS);
    }
    return this.#untilNext(clock.monotonic());
  }

  /** How long nothing is to be looked for. */
  #untilNext(now: number): number {
    const next = this.#held.reduce((least, { notBefore }) => Math.min(least, notBefore), Infinity);
    return Math.max(0, next - now);
  }

  async #record(ready: readonly Held[], known: ReadonlyMap<string, JobSummary>): Promise<void> {
    if (ready.length === 0) return;
    try {
      await this.#recordAll(ready, known);
    } catch (error) {
      if (error instanceof StoreAwayError) throw error;
      // It is one of them which the store does not take.
      const [first, ...rest] = ready;
      if (rest.length > 0) {
        for (const held of ready) await this.#record([held], known);
      } else if (first !== undefined) {
        log.error("The store does not take what a Celery worker tells: {error}", {
          error,
          jobId: first.news.id,
          kind: first.news.fact.kind,
        });
        this.#settle([first]);
      }
    }
  }

  async #recordAll(ready: readonly Held[], known: ReadonlyMap<string, JobSummary>): Promise<void> {
    const { store, recorded } = this.#options;
    const jobs = new Map<string, Job>(known);
    const events: JobEvent[] = [];
    for (const { news } of ready) {
      const job = jobs.get(news.id);
      if (job === undefined) continue;
      for (const event of celeryEvents(job, news, Math.random())) {
        const limited = withinLimits(event);
        jobs.set(news.id, applyEvent(jobs.get(news.id), limited));
        events.push(limited);
      }
    }
    if (events.length > 0) recorded(await store.recordEvents(events), events);
    this.#settle(ready);
  }

  /** Nobody will ever have a record for them: another program's, or a front died as it accepted it. */
  #passOver(late: readonly Held[]): void {
    for (const { news, delivery } of late) {
      if (delivery === undefined) continue;
      log.warn("Passed over a Celery worker's answer for a job that has no record", {
        jobId: news.id,
        kind: news.fact.kind,
      });
    }
    this.#settle(late);
  }

  #settle(done: readonly Held[]): void {
    const settled = new Set(done);
    this.#held = this.#held.filter((held) => !settled.has(held));
    for (const { delivery } of done) delivery?.ack();
  }

  async #read(delivery: Delivery): Promise<void> {
    const news = await readCeleryReply(delivery, this.#options.clock.now());
    if (news === undefined) delivery.ack();
    else this.#hold(news, delivery, 0);
  }

  #hold(news: CeleryNews, delivery: Delivery | undefined, patienceMs: number): void {
    const notBefore = this.#options.clock.monotonic() + patienceMs;
    const waitUntil = notBefore + RECORD_PATIENCE_MS;
    this.#held.push({ news, delivery, notBefore, waitUntil, pauseMs: LOOK_AGAIN_MS });
    this.alarm.ring();
  }
}
