/**
 * Follows jobs while they happen: one private queue of the node, bound to the events of those jobs that
 * somebody watches. Who watches is subscribed first; then the record is read, and events are applied to
 * it by the transition function of states.ts, to which one that was in the record already is nothing.
 *
 * An event that was published before the subscription may not be recorded yet when the record is read:
 * so it is read again, soon and then ever more rarely. That also finds what was lost on the way here.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError } from "../broker/errors.ts";
import { JOBS_EXCHANGE } from "../broker/topology.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import { isFinal, type Job } from "./job.ts";
import { compareOrder, decodeJobEventsOf, type JobEvent } from "./job_event.ts";
import type { JobLookup, LookedUp } from "./job_lookup.ts";
import { applyEvent } from "./states.ts";

const log = getLogger(["coxswain", "jobs"]);

/** Events of several jobs in one message. */
const GROUP_KEY = "event.group";
/** Events that may come while the record is read; the record has the older ones. */
const MAX_EARLY = 1_000;
/** Pauses between readings of the record; the last one again and again. */
const READ_AGAIN_MS = [20, 50, 100, 200, 500, 1_000, 2_000, 5_000] as const;

export interface JobWatcherOptions {
  readonly broker: Broker;
  readonly lookup: Pick<JobLookup, "find">;
  readonly maxWatches: number;
  readonly clock?: Clock;
}

export type Watched =
  | { readonly kind: "watched"; readonly watch: JobWatch }
  | { readonly kind: "too_many_watches"; readonly limit: number }
  | { readonly kind: "broker_away"; readonly message: string }
  | Exclude<LookedUp, { kind: "found" }>;

/** One who follows one job. Made by the watcher alone. */
export class JobWatch implements Disposable {
  readonly id: string;
  readonly #onClose: (watch: JobWatch) => void;
  #job: Job | undefined;
  #early: JobEvent[] = [];
  #isChanged = false;
  #isClosed = false;
  #awaited: PromiseWithResolvers<void> | undefined;

  constructor(id: string, onClose: (watch: JobWatch) => void) {
    this.id = id;
    this.#onClose = onClose;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The job as it is now. */
  get job(): Job {
    if (this.#job === undefined) throw new Error(`Job ${this.id} is watched before it was read`);
    return this.#job;
  }

  /** Resolves when something has happened since this was last called, or the watch is closed. */
  async changed(): Promise<void> {
    if (!this.#isChanged && !this.#isClosed) {
      this.#awaited ??= Promise.withResolvers<void>();
      await this.#awaited.promise;
    }
    this.#isChanged = false;
  }

  /** The record, as it was read; nothing of it takes the job back. */
  read(record: Job): void {
    const known = this.#job;
    const isOlder = known !== undefined && !isFinal(record.state) &&
      compareOrder(record.lastEvent, known.lastEvent) <= 0;
    if (isOlder || (known !== undefined && isFinal(known.state))) return;
    this.#job = this.#early.reduce<Job>(applyEvent, record);
    this.#early = [];
    if (known !== undefined) this.#wake();
  }

  apply(event: JobEvent): void {
    if (this.#job === undefined) {
      if (this.#early.length >= MAX_EARLY) this.#early.shift();
      this.#early.push(event);
      return;
    }
    this.#job = applyEvent(this.#job, event);
    this.#wake();
  }

  /** Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#onClose(this);
    this.#wake();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #wake(): void {
    this.#isChanged = true;
    this.#awaited?.resolve();
    this.#awaited = undefined;
  }
}

export class JobWatcher implements Component {
  readonly #options: JobWatcherOptions;
  readonly #watches = new Map<string, Set<JobWatch>>();
  /** By routing key: the last binding or unbinding that was asked for. */
  readonly #order = new Map<string, Promise<void>>();
  readonly #clock: Clock;
  readonly #timers = new Map<JobWatch, Timer>();
  #count = 0;
  #queue: Promise<PrivateQueue> | undefined;
  #loop: Promise<void> | undefined;
  #isStopped = false;

  constructor(options: JobWatcherOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Watches that are open. */
  get size(): number {
    return this.#count;
  }

  /** Nothing is opened before somebody watches. */
  start(): Promise<void> {
    return Promise.resolve();
  }

  /** Closes all watches, those that come later too: the front stops. Idempotent. */
  endWatches(): void {
    this.#isStopped = true;
    for (const watches of [...this.#watches.values()]) {
      for (const watch of [...watches]) watch.close();
    }
  }

  async stop(): Promise<void> {
    this.endWatches();
    const queue = await this.#queue?.catch(() => undefined);
    await queue?.close();
    await this.#loop;
  }

  /**
   * Follows one job until the watch is closed.
   * @param signal aborting ends the wait for a record that is not there.
   */
  async watch(id: string, signal?: AbortSignal): Promise<Watched> {
    const { maxWatches, lookup } = this.#options;
    if (this.#count >= maxWatches) return { kind: "too_many_watches", limit: maxWatches };
    const watch = new JobWatch(id, (closed) => this.#closed(closed));
    try {
      await this.#opened(watch);
      const found = await lookup.find(id, signal);
      if (found.kind !== "found") {
        watch.close();
        return found;
      }
      watch.read(found.job);
    } catch (error) {
      watch.close();
      if (error instanceof BrokerAwayError) return { kind: "broker_away", message: error.message };
      throw error;
    }
    if (this.#isStopped) watch.close();
    this.#readAgain(watch);
    return { kind: "watched", watch };
  }

  #readAgain(watch: JobWatch, turn = 0): void {
    if (watch.isClosed || isFinal(watch.job.state)) return;
    const pauseMs = READ_AGAIN_MS[Math.min(turn, READ_AGAIN_MS.length - 1)] ?? 0;
    this.#timers.set(
      watch,
      this.#clock.after(pauseMs, () => {
        void this.#refresh(watch).then(() => this.#readAgain(watch, turn + 1));
      }),
    );
  }

  /** Never rejects. */
  async #refresh(watch: JobWatch): Promise<void> {
    try {
      const found = await this.#options.lookup.find(watch.id);
      if (found.kind === "found") watch.read(found.job);
    } catch (error) {
      log.error("A watched job's record could not be read: {error}", { jobId: watch.id, error });
    }
  }

  async #opened(watch: JobWatch): Promise<void> {
    const watches = this.#watches.get(watch.id) ?? new Set<JobWatch>();
    this.#watches.set(watch.id, watches.add(watch));
    this.#count++;
    const queue = await this.#opening();
    await Promise.all([this.#bind(queue, GROUP_KEY), this.#bind(queue, keyOf(watch.id))]);
  }

  #closed(watch: JobWatch): void {
    const watches = this.#watches.get(watch.id);
    if (watches?.delete(watch) !== true) return;
    this.#timers.get(watch)?.cancel();
    this.#timers.delete(watch);
    this.#count--;
    if (watches.size > 0) return;
    this.#watches.delete(watch.id);
    this.#unbind(keyOf(watch.id));
    if (this.#count === 0) this.#unbind(GROUP_KEY);
  }

  #opening(): Promise<PrivateQueue> {
    if (this.#queue !== undefined) return this.#queue;
    const { broker } = this.#options;
    const opening = broker.declareExchange(JOBS_EXCHANGE)
      .then(() => broker.openPrivateQueue({ prefix: "cox.watch." }));
    this.#queue = opening;
    opening.then(
      (queue) => {
        queue.watch((name) => {
          if (name !== undefined) this.#again(queue);
        });
        this.#loop = this.#listen(queue);
      },
      () => this.#queue = undefined,
    );
    return opening;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message } of queue) {
      const decoded = decodeJobEventsOf(message.body, (id) => this.#watches.has(id));
      if (decoded.kind === "unusable") {
        log.warn("Passed over job events: {reason}", { reason: decoded.reason });
        continue;
      }
      for (const event of decoded.events) {
        for (const watch of this.#watches.get(event.id) ?? []) watch.apply(event);
      }
    }
  }

  /** The connection was lost and is back, with a new queue: what happened meanwhile is in the records. */
  #again(queue: PrivateQueue): void {
    const bound = [GROUP_KEY, ...[...this.#watches.keys()].map(keyOf)];
    Promise.all(bound.map((key) => this.#bind(queue, key)))
      .then(() =>
        Promise.all(
          [...this.#watches.values()].flatMap((watches) =>
            [...watches].map((watch) => this.#refresh(watch))
          ),
        )
      )
      .catch((error: unknown) => {
        log.debug("Jobs could not be watched again: {error}", { error });
      });
  }

  #bind(queue: PrivateQueue, routingKey: string): Promise<void> {
    return this.#inOrder(routingKey, async () => {
      // Without a name it is bound when it has one again.
      if (queue.name === undefined) return;
      await this.#options.broker.bind({ ...bindingOf(routingKey), queue: queue.name });
    });
  }

  #unbind(routingKey: string): void {
    this.#inOrder(routingKey, async () => {
      const queue = await this.#queue;
      if (queue?.name === undefined || this.#isWanted(routingKey)) return;
      await this.#options.broker.unbind({ ...bindingOf(routingKey), queue: queue.name });
    }).catch((error: unknown) => {
      // Without its connection the queue is gone with all its bindings.
      log.debug("A watched job could not be let go: {error}", { routingKey, error });
    });
  }

  #isWanted(routingKey: string): boolean {
    if (routingKey === GROUP_KEY) return this.#count > 0;
    return this.#watches.has(routingKey.slice(KEY_PREFIX.length));
  }

  /** A binding that is asked for after it was let go must come after that at the broker too. */
  #inOrder(key: string, act: () => Promise<void>): Promise<void> {
    const before = this.#order.get(key) ?? Promise.resolve();
    const after = before.then(act, act);
    this.#order.set(key, after);
    const forget = () => {
      if (this.#order.get(key) === after) this.#order.delete(key);
    };
    after.then(forget, forget);
    return after;
  }
}

const KEY_PREFIX = "event.*.";

function keyOf(id: string): string {
  return `${KEY_PREFIX}${id}`;
}

function bindingOf(routingKey: string): { readonly exchange: string; readonly routingKey: string } {
  return { exchange: JOBS_EXCHANGE.name, routingKey };
}
