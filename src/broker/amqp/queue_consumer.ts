/**
 * The port's consumer of a queue, on whatever channel it has at the moment.
 *
 * States: consuming ⇄ lost (a restorer works on it), then cancelled (what was handed out may still be
 * settled), then closed.
 */
import { getLogger } from "@logtape/logtape";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Consumer } from "../broker.ts";
import type { Delivery } from "../message.ts";
import type { Connection } from "./connection.ts";
import { ConsumingChannel } from "./consuming_channel.ts";
import { isNotFound } from "./declare.ts";
import type { AmqpDelivery } from "./delivery.ts";
import { DeliveryQueue } from "./delivery_queue.ts";
import { reasonOf } from "./failure.ts";
import type { Link } from "./link.ts";
import { nextStepAt, planPrefetch } from "./prefetch_plan.ts";
import { Restorer } from "./restorer.ts";

const log = getLogger(["coxswain", "broker"]);

const MAX_PREFETCH = 65_535;

export interface QueueConsumerOptions {
  readonly queue: string;
  readonly prefetch: number;
  readonly noAck: boolean;
  readonly exclusive: boolean;
  readonly link: Link;
  readonly clock: Clock;
  /** Declares the queue again if it was declared through this broker. */
  readonly redeclare: (queue: string) => Promise<void>;
  /** It is no consumer any more. */
  readonly ended: (consumer: QueueConsumer) => void;
}

export class QueueConsumer implements Consumer {
  readonly queue: string;
  readonly #options: QueueConsumerOptions;
  readonly #deliveries = new DeliveryQueue();
  readonly #restorer: Restorer;
  #state: "consuming" | "cancelled" | "closed" = "consuming";
  #channel: ConsumingChannel | undefined;
  /** What was asked for last. */
  #prefetch: number;
  /** What was asked for when the latest subscription began. */
  #grantedFor: number;
  /** A settlement calls for a change at the earliest when no more than so many are unsettled. */
  #adjustsAt = Infinity;
  /** A change of its subscriptions is underway. */
  #changing: Promise<void> | undefined;
  #cancelling: Promise<void> | undefined;
  /** The broker took it away, and it is not back yet. */
  #isLost = false;
  #lastFailure = "";

  /** @throws RangeError when the prefetch is not 1 to 65535. */
  constructor(options: QueueConsumerOptions) {
    checkPrefetch(options.queue, options.prefetch);
    this.queue = options.queue;
    this.#options = options;
    this.#prefetch = options.prefetch;
    this.#grantedFor = options.prefetch;
    this.#restorer = new Restorer({
      link: options.link,
      clock: options.clock,
      restore: (connection) => this.#restore(connection),
      tried: (failure) => this.#tried(failure),
    });
  }

  get isLive(): boolean {
    const channel = this.#channel;
    if (this.#state !== "consuming" || channel === undefined) return false;
    // While its prefetch is changed it may be between two subscriptions on purpose.
    return channel.isOpen && !this.#isLost;
  }

  /** Subscribes for the first time. @throws what the broker said. */
  start(connection: Connection): Promise<void> {
    return this.#attach(connection);
  }

  setPrefetch(prefetch: number): void {
    checkPrefetch(this.queue, prefetch);
    checkChangeable(this.queue, this.#options.exclusive);
    this.#prefetch = prefetch;
    this.#adjust();
  }

  cancel(): Promise<void> {
    return this.#cancelling ??= this.#cancel();
  }

  async close(): Promise<void> {
    const cancelling = this.cancel();
    this.#state = "closed";
    await cancelling;
    await this.#letGo();
  }

  [Symbol.asyncIterator](): AsyncIterator<Delivery, undefined> {
    const deliveries = this.#deliveries;
    return {
      next: () => deliveries.next(),
      return: async () => {
        await this.close();
        return { done: true, value: undefined };
      },
    };
  }

  async #attach(connection: Connection): Promise<void> {
    const { queue, noAck, exclusive } = this.#options;
    const channel = await ConsumingChannel.open(connection, {
      queue,
      prefetch: this.#prefetch,
      noAck,
      exclusive,
      deliver: (delivery) => this.#deliver(delivery),
      settled: () => this.#settled(),
      lost: (error) => this.#lost(error),
    });
    this.#channel = channel;
    this.#isLost = false;
    if (this.#state === "consuming") this.#adjust();
    else await this.#letGo();
  }

  #deliver(delivery: AmqpDelivery): void {
    if (this.#state === "consuming") this.#deliveries.push(delivery);
    else delivery.nack({ requeue: true });
  }

  #settled(): void {
    if (this.#state === "consuming") {
      if ((this.#channel?.unsettled ?? 0) <= this.#adjustsAt) this.#adjust();
    } else if (this.#state === "cancelled" && this.#channel?.unsettled === 0) {
      void this.#letGo();
    }
  }

  #lost(error: Error): void {
    if (this.#state !== "consuming") return;
    this.#isLost = true;
    if (this.#options.link.connection !== undefined) {
      log.warn("The consumer of {queue} was lost: {reason}", {
        queue: this.queue,
        reason: reasonOf(error),
      });
    }
    // What the loop has not seen comes again by the next channel; kept, it would be worked twice.
    if (!this.#options.noAck) this.#deliveries.takeUnseen();
    // A broker that ends a consumer has taken back what it held: the open channel is of no more use.
    void this.#channel?.close();
    this.#restorer.lost();
  }

  async #restore(connection: Connection): Promise<void> {
    if (this.#state !== "consuming") return;
    try {
      await this.#attach(connection);
    } catch (error) {
      if (isNotFound(error)) await this.#options.redeclare(this.queue);
      throw error;
    }
  }

  #tried(failure: unknown): void {
    const reason = failure === undefined ? "" : reasonOf(failure);
    if (failure === undefined) {
      log.info("The consumer of {queue} is back", { queue: this.queue });
    } else if (reason !== this.#lastFailure) {
      log.warn("Cannot consume {queue}, trying on: {reason}", { queue: this.queue, reason });
    }
    this.#lastFailure = reason;
  }

  /** Brings its subscriptions to what was asked for, step by step. */
  #adjust(): void {
    const channel = this.#channel;
    if (this.#changing !== undefined || this.#options.noAck || channel?.isOpen !== true) return;
    // A second subscription would be refused by the first.
    if (this.#options.exclusive) return;
    const { grants, carried, unsettled } = channel;
    const prefetch = this.#prefetch;
    const isRaised = prefetch > this.#grantedFor;
    const step = planPrefetch({ prefetch, isRaised, grants, carried, unsettled });
    if (step.kind !== "restart") this.#grantedFor = prefetch;
    this.#adjustsAt = step.kind === "keep" ? nextStepAt({ grants, carried }) : Infinity;
    if (step.kind === "keep") return;
    const change = step.kind === "grant" ? channel.subscribe(step.size) : channel.unsubscribe();
    this.#changing = change.catch((error: unknown) => {
      // A channel that was closed has told so itself.
      if (channel.isOpen) this.#lost(error instanceof Error ? error : new Error(String(error)));
    }).then(() => {
      this.#changing = undefined;
      if (this.#state === "consuming") this.#adjust();
    });
  }

  async #cancel(): Promise<void> {
    this.#state = "cancelled";
    this.#restorer.stop();
    const unseen = this.#deliveries.takeUnseen();
    this.#deliveries.end();
    await this.#changing;
    // Given back sooner, they would be delivered here again.
    await this.#channel?.unsubscribe();
    for (const delivery of unseen) delivery.nack({ requeue: true });
    this.#settled();
  }

  /** The broker gets back what is unsettled. */
  async #letGo(): Promise<void> {
    this.#state = "closed";
    this.#options.ended(this);
    await this.#channel?.close();
  }
}

function checkPrefetch(queue: string, prefetch: number): void {
  if (Number.isInteger(prefetch) && prefetch >= 1 && prefetch <= MAX_PREFETCH) return;
  throw new RangeError(
    `Cannot consume "${queue}": prefetch must be a whole number from 1 to ${MAX_PREFETCH}, ` +
      `got ${prefetch}`,
  );
}

/** Changing takes several subscriptions beside each other. */
function checkChangeable(queue: string, exclusive: boolean): void {
  if (!exclusive) return;
  throw new RangeError(`Cannot change the prefetch of "${queue}": its consumer is exclusive`);
}
