/**
 * The worker's consumers, one for each queue: every delivery goes to the executor, and what is held
 * over all of them stays within the slots and the look-ahead.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, Consumer } from "../broker/broker.ts";
import type { Delivery } from "../broker/message.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { LookAhead } from "./look_ahead.ts";
import { sharePrefetch } from "./prefetch_share.ts";

const log = getLogger(["coxswain", "worker"]);

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
  /** Whether something of a queue is still held. */
  readonly holds: (queue: string) => boolean;
  readonly clock?: Clock;
}

interface Consuming {
  readonly consumer: Consumer;
  readonly loop: Promise<void>;
  prefetch: number;
  /** Monotonic instant of the latest delivery. */
  lastAt: number;
}

export class QueueConsumers {
  readonly #options: QueueConsumersOptions;
  readonly #clock: Clock;
  #consuming: Consuming[] = [];
  #timer: Timer | undefined;

  constructor(options: QueueConsumersOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Consumers that the broker knows at this moment, by queue. */
  get live(): readonly { readonly queue: string; readonly isLive: boolean }[] {
    return this.#consuming.map(({ consumer }) => ({
      queue: consumer.queue,
      isLive: consumer.isLive,
    }));
  }

  async start(): Promise<void> {
    const { broker, queues } = this.#options;
    const shares = this.#shares(queues.map(() => false));
    for (const [index, queue] of queues.entries()) {
      const prefetch = shares[index] ?? 1;
      const consumer = await broker.consume(queue, { prefetch });
      const consuming: Consuming = {
        consumer,
        prefetch,
        lastAt: -Infinity,
        loop: this.#consume(consumer, () => consuming),
      };
      this.#consuming.push(consuming);
    }
    this.#shareLater();
  }

  /** Takes nothing more; what was handed out may still be settled. Idempotent. */
  async cancel(): Promise<void> {
    this.#timer?.cancel();
    await Promise.all(this.#consuming.map(({ consumer }) => consumer.cancel()));
    await Promise.all(this.#consuming.map(({ loop }) => loop));
  }

  /** Gives back all that is unsettled. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.#consuming.map(({ consumer }) => consumer.close()));
  }

  async #consume(consumer: Consumer, own: () => Consuming): Promise<void> {
    try {
      for await (const delivery of consumer) {
        const consuming = own();
        const now = this.#clock.monotonic();
        const wasQuiet = now - consuming.lastAt > QUIET_AFTER_MS;
        consuming.lastAt = now;
        this.#options.accept(delivery);
        if (wasQuiet) this.#share();
      }
    } catch (error) {
      log.error("The consumer of {queue} ended: {error}", { queue: consumer.queue, error });
    }
  }

  #shareLater(): void {
    this.#timer = this.#clock.after(SHARE_EVERY_MS, () => {
      this.#share();
      this.#shareLater();
    });
  }

  #share(): void {
    const quietSince = this.#clock.monotonic() - QUIET_AFTER_MS;
    const shares = this.#shares(
      this.#consuming.map(({ consumer, lastAt }) =>
        lastAt >= quietSince || this.#options.holds(consumer.queue)
      ),
    );
    for (const [index, consuming] of this.#consuming.entries()) {
      const share = shares[index] ?? 1;
      if (share === consuming.prefetch) continue;
      consuming.prefetch = share;
      consuming.consumer.setPrefetch(share);
    }
  }

  #shares(active: readonly boolean[]): number[] {
    const { slots, lookAhead } = this.#options;
    return sharePrefetch(slots + lookAhead.value, active);
  }
}
