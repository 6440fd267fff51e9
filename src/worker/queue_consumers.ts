/**
 * The worker's consumers of task queues: every delivery goes to the executor, and what is held over all
 * of them stays within the slots and the look-ahead.
 */
import type { Broker } from "../broker/broker.ts";
import type { Delivery } from "../broker/message.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import { type ConsumerStatus, ConsumingQueue } from "./consuming_queue.ts";
import type { LookAhead } from "./look_ahead.ts";
import { sharePrefetch } from "./prefetch_share.ts";

/** How often the shares are looked at. */
const SHARE_EVERY_MS = 250;
/** A queue that has brought nothing for this long, and of which nothing is held, is quiet. */
const QUIET_AFTER_MS = 1_000;

export interface QueueConsumersOptions {
  readonly broker: Broker;
  readonly queues: readonly string[];
  readonly slots: number;
  readonly lookAhead: LookAhead;
  /** Takes each delivery over. */
  readonly accept: (delivery: Delivery) => void;
  /** Deliveries that wait for a later moment: they must not keep others from coming. */
  readonly paused: () => number;
  /** Whether something of a queue is still held. */
  readonly holds: (queue: string) => boolean;
  readonly clock?: Clock;
}

interface Consuming {
  readonly source: ConsumingQueue;
  /** Monotonic instant of the latest delivery. */
  lastAt: number;
}

export class QueueConsumers {
  readonly #options: QueueConsumersOptions;
  readonly #clock: Clock;
  #consuming: readonly Consuming[];
  #slots: number;
  /** Those that were removed, of which something may not be settled yet. */
  readonly #removed = new Set<ConsumingQueue>();
  #timer: Timer | undefined;

  constructor(options: QueueConsumersOptions) {
    this.#options = options;
    this.#slots = options.slots;
    this.#clock = options.clock ?? systemClock;
    const shares = this.#shares(options.queues.map(() => false));
    this.#consuming = options.queues.map((queue, index) => this.#make(queue, shares[index] ?? 1));
  }

  get sources(): readonly ConsumingQueue[] {
    return this.#consuming.map(({ source }) => source);
  }

  get status(): readonly ConsumerStatus[] {
    return this.sources.map(({ status }) => status);
  }

  /** A message of a queue is dealt with. */
  countSettled(queue: string): void {
    for (const { source } of this.#consuming) if (source.queue === queue) source.countSettled();
  }

  async start(): Promise<void> {
    for (const { source } of this.#consuming) await source.start();
    this.#shareLater();
  }

  /** Consumes one queue more. @throws what `Broker.consume` throws. */
  async add(queue: string): Promise<void> {
    const consuming = this.#make(queue, 1);
    this.#consuming = [...this.#consuming, consuming];
    try {
      await consuming.source.start();
    } catch (error) {
      this.#consuming = this.#consuming.filter((one) => one !== consuming);
      throw error;
    }
    this.share();
  }

  /** Consumes a queue no longer; what it has brought is finished. */
  async remove(queue: string): Promise<void> {
    const gone = this.#consuming.filter(({ source }) => source.queue === queue);
    this.#consuming = this.#consuming.filter((one) => !gone.includes(one));
    for (const { source } of gone) this.#removed.add(source);
    await Promise.all(gone.map(({ source }) => source.cancel()));
    this.share();
  }

  /** Takes nothing more; what was handed out may still be settled. Idempotent. */
  async cancel(): Promise<void> {
    this.#timer?.cancel();
    await Promise.all(this.sources.map((source) => source.cancel()));
  }

  /** Gives back all that is unsettled. Idempotent. */
  async close(): Promise<void> {
    await Promise.all([...this.sources, ...this.#removed].map((source) => source.close()));
  }

  #make(queue: string, prefetch: number): Consuming {
    const source = new ConsumingQueue({
      broker: this.#options.broker,
      queue,
      prefetch,
      accept: (delivery) => this.#accept(consuming, delivery),
      clock: this.#clock,
    });
    const consuming: Consuming = { source, lastAt: -Infinity };
    return consuming;
  }

  #accept(consuming: Consuming, delivery: Delivery): void {
    const now = this.#clock.monotonic();
    const wasQuiet = now - consuming.lastAt > QUIET_AFTER_MS;
    consuming.lastAt = now;
    this.#options.accept(delivery);
    if (wasQuiet) this.share();
  }

  #shareLater(): void {
    this.#timer = this.#clock.after(SHARE_EVERY_MS, () => {
      this.share();
      this.#shareLater();
    });
  }

  /** From now on it may hold as much as so many slots need. */
  resize(slots: number): void {
    this.#slots = slots;
    this.share();
  }

  /** Divides what may be held anew: on and on by itself, and when more may be. */
  share(): void {
    const quietSince = this.#clock.monotonic() - QUIET_AFTER_MS;
    const shares = this.#shares(
      this.#consuming.map(({ source, lastAt }) =>
        lastAt >= quietSince || this.#options.holds(source.queue)
      ),
    );
    for (const [index, { source }] of this.#consuming.entries()) {
      source.setPrefetch(shares[index] ?? 1);
    }
  }

  #shares(active: readonly boolean[]): number[] {
    const { lookAhead, paused } = this.#options;
    return sharePrefetch(this.#slots + lookAhead.value + paused(), active);
  }
}
