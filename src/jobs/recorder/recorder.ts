/**
 * The recorder: keeps the records of this broker's jobs, and does in time what nobody else does for
 * them. It puts its parts together and says when each of them may work.
 *
 * States: idle → waiting (somebody else has the place and does not answer, or the store is away) ⇄
 * recording → stopped; or refused (somebody else has the place).
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import { Backoff } from "../../async/backoff.ts";
import type { Broker } from "../../broker/broker.ts";
import { BrokerAwayError, DeclarationError } from "../../broker/errors.ts";
import { CELERY_REPLIES_QUEUE, DEAD_LETTERS_QUEUE, RECORDER_QUEUE } from "../../broker/topology.ts";
import type { DeviceStatus } from "../../devices/device_status.ts";
import { declareStatusQueue } from "../../devices/status_queue.ts";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import type { Component } from "../../lifecycle/component.ts";
import { StoreAwayError } from "../../store/errors.ts";
import type { Store } from "../../store/store.ts";
import type { TaskRoutes } from "../../nodes/routes.ts";
import { JobEventPublisher } from "../event_publisher.ts";
import { isFinal, type Job } from "../job.ts";
import type { JobEvent } from "../job_event.ts";
import { tellDue } from "../questions.ts";
import { Answers } from "./answers.ts";
import { CeleryHello } from "./celery_hello.ts";
import { CeleryJobs } from "./celery_jobs.ts";
import { CeleryWatch } from "./celery_watch.ts";
import { RecorderClaim, type RecorderTakenError } from "./claim.ts";
import { DeadLetters } from "./dead_letters.ts";
import { deviceStatusSource } from "./device_statuses.ts";
import { DueJobs } from "./due_jobs.ts";
import { jobEventSource } from "./event_batches.ts";
import { LeaseHolder } from "./lease.ts";
import { LostGateways, type NodesThere } from "./lost_gateways.ts";
import { Overdue } from "./overdue.ts";
import { type PatientLoop, runPatiently } from "./patient_loop.ts";
import { RetentionLoop } from "./retention.ts";
import { answerWaitingClient } from "../waiting_client.ts";
import { type AnnouncedSchedules, Schedules } from "./schedules.ts";
import { StoreBatches } from "./store_batches.ts";

const log = getLogger(["coxswain", "recorder"]);

const BACKOFF = { baseMs: 200, capMs: 5_000 } as const;
/** Events that this recorder has made itself are told to watchers, if the broker is there. */
const TELL_PATIENCE_MS = 5_000;
/** What was told until so long ago has been recorded, for a recorder that keeps up. */
const CAUGHT_UP_MS = 1_000;
/** Others look every second. */
const TELL_DUE_WITHIN_MS = 1_500;

export interface RecorderOptions {
  readonly broker: Broker;
  /** Not open; the recorder opens it once it may, and closes it. */
  readonly store: Store;
  readonly nodes: AnnouncedSchedules;
  /** Where schedules' jobs go that no worker announces. Default: nowhere but to the default queue. */
  readonly routes?: TaskRoutes;
  readonly node: string;
  /** Kind of queue to declare where a job is due that no worker has ever been there for. */
  readonly queueType: "classic" | "quorum";
  readonly keepResultsMs: number;
  readonly keepDeadLettersMs: number;
  readonly keepDevicesMs: number;
  /** Who is there: devices of those who are not are set offline. Default: it is not known. */
  readonly roster?: NodesThere;
  readonly clock?: Clock;
  /** After a successful start: somebody else keeps the records, and this node cannot. */
  readonly refused: (reason: Error) => void;
}

export interface RecorderStatus {
  readonly state: "idle" | "waiting" | "recording" | "refused" | "stopped";
  readonly place: string;
  /** Whether this one publishes what is due. */
  readonly isLeading: boolean;
  /** Messages with events that were received and are not recorded yet. */
  readonly held: number;
  /** How old the oldest event of the latest commit was then, in milliseconds. */
  readonly behindMs: number;
  readonly recordedAt?: number;
  /** What keeps it from recording now. */
  readonly obstacle?: string;
}

export class Recorder implements Component {
  readonly #options: RecorderOptions;
  readonly #clock: Clock;
  readonly #listeners = new Set<(jobs: readonly Job[]) => void>();
  readonly #events: JobEventPublisher;
  readonly #answers: Answers;
  readonly #claim: RecorderClaim;
  readonly #batches: StoreBatches<JobEvent>;
  readonly #devices: StoreBatches<DeviceStatus>;
  readonly #letters: DeadLetters;
  readonly #celery: CeleryJobs;
  readonly #celeryWatch: CeleryWatch;
  readonly #due: DueJobs;
  readonly #schedules: Schedules;
  readonly #lease: LeaseHolder;
  readonly #gateways: LostGateways | undefined;
  /** Set from when this node has recorded for the first time. */
  #watchingGateways: Promise<void> | undefined;
  readonly #stopping = new AbortController();
  #state: RecorderStatus["state"] = "idle";
  #obstacle: string | undefined;
  /** Entering and leaving, one after the other. */
  #changing: Promise<void> = Promise.resolve();
  #hasStarted = false;

  constructor(options: RecorderOptions) {
    const { broker, store, nodes, node, queueType, clock = systemClock } = options;
    this.#options = options;
    this.#clock = clock;
    this.#events = new JobEventPublisher({ broker, patienceMs: TELL_PATIENCE_MS });
    const made = (jobs: readonly Job[], events: readonly JobEvent[]) => this.#made(jobs, events);
    const recorded = (jobs: readonly Job[]) => this.#recorded(jobs);
    const source = jobEventSource({ broker, store, node, clock, recorded });
    this.#batches = new StoreBatches({ broker, store, clock, source });
    this.#devices = new StoreBatches({ broker, store, clock, source: deviceStatusSource(store) });
    this.#letters = new DeadLetters({ broker, store, clock, recorded: made });
    const isCaughtUp = () => this.#isCaughtUp();
    this.#celery = new CeleryJobs({ broker, store, clock, isCaughtUp, recorded: made });
    this.#celeryWatch = new CeleryWatch({ broker, store, clock, jobs: this.#celery });
    this.#due = new DueJobs({
      broker,
      store,
      node,
      queueType,
      clock,
      isCaughtUp,
      recorded: made,
    });
    this.#schedules = new Schedules({
      store,
      nodes,
      ...(options.routes === undefined ? {} : { routes: options.routes }),
      clock,
      made: () => this.#due.expect(clock.now()),
    });
    const { keepResultsMs, keepDeadLettersMs, keepDevicesMs, roster } = options;
    const retention = new RetentionLoop({
      store,
      clock,
      keepResultsMs,
      keepDeadLettersMs,
      keepDevicesMs,
    });
    this.#gateways = roster && new LostGateways({
      broker,
      store,
      nodes: roster,
      node,
      isRecording: () => this.#state === "recording",
      clock,
    });
    const overdue = new Overdue({ store, clock, isCaughtUp, recorded: made });
    const hello = new CeleryHello({ broker, store, node, clock });
    const listeners = [
      listener("Hearing Celery's events", clock, (signal) => this.#celery.hear(signal)),
      listener("Greeting Celery's workers", clock, (signal) => hello.hear(signal)),
    ];
    this.#lease = new LeaseHolder({
      store,
      // A store of its own was nobody else's since it was opened.
      holder: store.isShared ? node : "the only one",
      clock,
      work: async (signal) => {
        this.#due.begin();
        this.#schedules.begin();
        this.#celeryWatch.begin();
        const loops = [
          this.#due,
          overdue,
          this.#schedules,
          this.#celeryWatch,
          ...listeners,
          retention,
        ];
        await Promise.all(loops.map((loop) => runPatiently(loop, signal)));
      },
    });
    this.#answers = new Answers({
      broker,
      store,
      node,
      clock,
      facts: () =>
        this.#claim.state === "taken" || this.#claim.state === "unsure"
          ? { node, place: store.place, isShared: store.isShared }
          : undefined,
      due: (at) => this.#due.expect(at),
    });
    this.#claim = new RecorderClaim({
      broker,
      node,
      place: store.place,
      isShared: store.isShared,
      clock,
      taken: () => this.#taken(),
      unsure: () => this.#unsure(),
      refused: (reason) => this.#refused(reason),
    });
  }

  get status(): RecorderStatus {
    const { obstacle = this.#devices.status.obstacle ?? this.#obstacle, ...batches } =
      this.#batches.status;
    return {
      state: this.#state,
      place: this.#options.store.place,
      isLeading: this.#lease.isHeld,
      ...batches,
      ...(obstacle === undefined ? {} : { obstacle }),
    };
  }

  /**
   * Calls the listener with jobs that this process has recorded something of, as they now are; their
   * payloads and results may be left out. Returns a function that ends this.
   */
  watch(listener: (jobs: readonly Job[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Somebody in this process has written a job to the store that is due at this instant. */
  expect(dueAt: number): void {
    if (this.#lease.isHeld) this.#due.expect(dueAt);
    else if (dueAt - this.#clock.now() < TELL_DUE_WITHIN_MS) {
      void tellDue(this.#options.broker, dueAt);
    }
  }

  /**
   * Begins to record, or goes on trying where the store is away.
   * @throws RecorderTakenError where somebody else keeps the records who cannot share them;
   *   StoreRefusedError where the store cannot be used.
   */
  async start(): Promise<void> {
    await this.#declare();
    this.#state = "waiting";
    let isOpen = false;
    try {
      await this.#answers.start();
      await this.#claim.start();
      isOpen = this.#claim.state === "taken" && await this.#openFirst();
    } catch (error) {
      await this.stop(AbortSignal.abort());
      throw error;
    }
    this.#hasStarted = true;
    if (this.#claim.state === "taken") this.#taken();
    if (isOpen) await this.#changing;
  }

  /** Records what it holds until the signal aborts, and gives everything up. */
  async stop(abort?: AbortSignal): Promise<void> {
    this.#stopping.abort();
    await this.#changing;
    await this.#watchingGateways;
    await this.#lease.stop();
    await this.#letters.stop();
    await this.#celery.stop();
    await this.#celeryWatch.stop();
    await Promise.all([this.#batches.stop(abort), this.#devices.stop(abort)]);
    await this.#claim.stop();
    await this.#answers.stop();
    await this.#options.store.close();
    this.#state = "stopped";
  }

  /** What nobody can put right by waiting is told by the start. @returns whether it is open. */
  async #openFirst(): Promise<boolean> {
    try {
      await this.#options.store.open();
      return true;
    } catch (error) {
      if (!(error instanceof StoreAwayError)) throw error;
      log.warn("The store of job records is away: {reason}", { reason: error.message });
      return false;
    }
  }

  #taken(): void {
    if (this.#hasStarted) this.#changing = this.#changing.then(() => this.#enter());
  }

  #unsure(): void {
    this.#changing = this.#changing.then(async () => {
      if (this.#state === "recording") this.#state = "waiting";
      const parts = [this.#batches, this.#devices, this.#letters, this.#celery];
      await Promise.all(parts.map((part) => part.pause()));
    });
  }

  #refused(reason: RecorderTakenError): void {
    this.#state = "refused";
    this.#obstacle = reason.message;
    log.error("{reason}", { reason: reason.message });
    this.#options.refused(reason);
  }

  /** Tries until it records, or may not any more. */
  async #enter(): Promise<void> {
    const { broker, store } = this.#options;
    const { signal } = this.#stopping;
    const backoff = new Backoff(BACKOFF);
    const pause = new Alarm(this.#clock);
    while (this.#claim.state === "taken" && !signal.aborted) {
      try {
        await store.open();
        await this.#batches.resume();
        await this.#devices.resume();
        await this.#letters.resume();
        await this.#celery.resume();
        this.#lease.start();
        this.#state = "recording";
        this.#watchingGateways ??= this.#gateways?.run(this.#stopping.signal);
        this.#obstacle = undefined;
        log.info("Keeping the records of jobs in {place}", { place: store.place });
        return;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        if (reason !== this.#obstacle) log.warn("Cannot record yet: {reason}", { reason });
        this.#obstacle = reason;
        if (error instanceof DeclarationError) await this.#declareAgain();
        await pause.wait(backoff.next(), signal);
        // Its states are told by the claim, which looks at the broker too.
        if (broker.state.kind === "stopped") return;
      }
    }
  }

  /** Somebody has deleted the queues. */
  async #declareAgain(): Promise<void> {
    try {
      await this.#declare();
    } catch (error) {
      if (!(error instanceof BrokerAwayError)) throw error;
    }
  }

  async #declare(): Promise<void> {
    const { broker } = this.#options;
    await JobEventPublisher.declare(broker);
    await broker.declareQueue(DEAD_LETTERS_QUEUE);
    await broker.declareQueue(CELERY_REPLIES_QUEUE);
    await declareStatusQueue(broker);
  }

  /** Jobs that others told of. */
  #recorded(jobs: readonly Job[]): void {
    let nextAt = Infinity;
    for (const { state, dueAt = Infinity } of jobs) {
      if (!isFinal(state)) nextAt = Math.min(nextAt, dueAt);
    }
    if (nextAt < Infinity) this.expect(nextAt);
    this.#celeryWatch.noticed(jobs);
    // Its news may have come before its record.
    if (this.#celery.held > 0) this.#celery.alarm.ring();
    for (const listener of this.#listeners) listener(jobs);
  }

  /** Jobs that this recorder itself did something to: watchers elsewhere have not heard of it. */
  #made(jobs: readonly Job[], events: readonly JobEvent[]): void {
    for (const event of events) {
      if (event.kind !== "published") this.#events.tell(event);
    }
    // No worker had its message, so none has answered.
    const ended = new Set(
      events.flatMap((event) => "settles" in event && !event.settles ? [event.id] : []),
    );
    for (const job of jobs) {
      if (ended.has(job.id)) void answerWaitingClient(this.#options.broker, job);
    }
    this.#recorded(jobs);
  }

  async #isCaughtUp(): Promise<boolean> {
    const { held, behindMs, recordedAt = -Infinity } = this.#batches.status;
    if (this.#state !== "recording") return false;
    if (behindMs < CAUGHT_UP_MS && this.#clock.now() - recordedAt < CAUGHT_UP_MS) return true;
    const queue = await this.#options.broker.inspectQueue(RECORDER_QUEUE.name);
    return held === 0 && queue?.messages === 0;
  }
}

/** What goes on until it is aborted, or fails. */
function listener(
  name: string,
  clock: Clock,
  hear: (signal: AbortSignal) => Promise<void>,
): PatientLoop {
  const turn = async (signal: AbortSignal) => {
    await hear(signal);
    return 0;
  };
  return { name, alarm: new Alarm(clock), turn };
}
