/**
 * One queue that a worker takes messages from: its consumer on the broker, which a pause cancels and a
 * resume makes anew, and the count of what came and what is dealt with.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, Consumer } from "../broker/broker.ts";
import type { Delivery } from "../broker/message.ts";
import type { Clock } from "../lifecycle/clock.ts";
import { Rate } from "./rate.ts";

const log = getLogger(["coxswain", "worker"]);

/** What a node tells of one queue that it takes messages from. */
export interface ConsumerStatus {
  readonly queue: string;
  /** Of a consumer of messages: the exchange that the queue is bound to, and by which keys. */
  readonly exchange?: string;
  readonly keys?: readonly string[];
  /** The broker knows the consumer at this moment. */
  readonly isLive: boolean;
  /** Somebody has paused the queue. */
  readonly isPaused: boolean;
  /** Most messages that it may hold. */
  readonly prefetch: number;
  /** Messages since the start: that came, and that were dealt with (acked). */
  readonly delivered: number;
  readonly settled: number;
  /** The same a second, of late. */
  readonly deliveredPerSecond: number;
  readonly settledPerSecond: number;
}

export interface ConsumingQueueOptions {
  readonly broker: Broker;
  readonly queue: string;
  readonly prefetch: number;
  /** Takes each delivery over. */
  readonly accept: (delivery: Delivery) => void;
  readonly clock: Clock;
}

export class ConsumingQueue {
  readonly queue: string;
  readonly #options: ConsumingQueueOptions;
  readonly #delivered: Rate;
  readonly #settled: Rate;
  #prefetch: number;
  #isStarted = false;
  #isPaused = false;
  /** Undefined while it is paused, or could not be made anew. */
  #consumer: Consumer | undefined;
  /** Paused ones, of which something may not be settled yet. */
  readonly #past = new Set<Consumer>();
  readonly #loops = new Set<Promise<void>>();
  /** Pauses and resumes go one after the other. */
  #changing: Promise<void> = Promise.resolve();
  #isCancelled = false;

  constructor(options: ConsumingQueueOptions) {
    this.#options = options;
    this.queue = options.queue;
    this.#prefetch = options.prefetch;
    this.#delivered = new Rate(options.clock);
    this.#settled = new Rate(options.clock);
  }

  get status(): ConsumerStatus {
    return {
      queue: this.queue,
      isLive: this.#consumer?.isLive ?? false,
      isPaused: this.#isPaused,
      prefetch: this.#prefetch,
      delivered: this.#delivered.total,
      settled: this.#settled.total,
      deliveredPerSecond: this.#delivered.perSecond,
      settledPerSecond: this.#settled.perSecond,
    };
  }

  /**
   * Starts to take messages, unless it is paused.
   * @throws what `Broker.consume` throws.
   */
  start(): Promise<void> {
    this.#isStarted = true;
    return this.#follow();
  }

  /**
   * Pauses or resumes. What a paused queue has already brought is finished. Idempotent.
   * @throws what `Broker.consume` throws; asked again, it tries again.
   */
  setPaused(isPaused: boolean): Promise<void> {
    if (this.#isPaused !== isPaused) {
      this.#isPaused = isPaused;
      log.info(isPaused ? "Queue {queue} is paused" : "Queue {queue} is resumed", {
        queue: this.queue,
      });
    }
    return this.#follow();
  }

  /** A message of it is dealt with. */
  countSettled(): void {
    this.#settled.count();
  }

  setPrefetch(prefetch: number): void {
    if (prefetch === this.#prefetch) return;
    this.#prefetch = prefetch;
    this.#consumer?.setPrefetch(prefetch);
  }

  /** Takes nothing more; what was handed out may still be settled. Idempotent. */
  async cancel(): Promise<void> {
    this.#isCancelled = true;
    await this.#follow();
    await Promise.all(this.#loops);
  }

  /** Gives back all that is unsettled. Idempotent. */
  async close(): Promise<void> {
    await this.cancel();
    await Promise.all([...this.#past].map((consumer) => consumer.close()));
  }

  /** Brings the consumer to what was asked for last, after the change that is underway. */
  #follow(): Promise<void> {
    const changed = this.#changing.then(() => this.#change());
    // Whoever asked is told of a failure; the next change does not depend on it.
    this.#changing = changed.catch(() => undefined);
    return changed;
  }

  async #change(): Promise<void> {
    const { broker, queue } = this.#options;
    const consumer = this.#consumer;
    const isWanted = this.#isStarted && !this.#isPaused && !this.#isCancelled;
    if (isWanted === (consumer !== undefined)) return;
    if (consumer !== undefined) {
      this.#consumer = undefined;
      this.#past.add(consumer);
      await consumer.cancel();
      return;
    }
    const made = await broker.consume(queue, { prefetch: this.#prefetch });
    this.#consumer = made;
    const loop = this.#take(made).finally(() => this.#loops.delete(loop));
    this.#loops.add(loop);
  }

  async #take(consumer: Consumer): Promise<void> {
    try {
      for await (const delivery of consumer) {
        this.#delivered.count();
        this.#options.accept(delivery);
      }
    } catch (error) {
      log.error("The consumer of {queue} ended: {error}", { queue: this.queue, error });
    }
  }
}
