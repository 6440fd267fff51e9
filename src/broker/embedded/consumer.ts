/**
 * One consumer: takes from its queue as far as it has room, and hands over to one loop. What the loop
 * has not seen yet is buffered here and goes back unmarked; what it has seen goes back as redelivered.
 */
import type { ConsumeOptions, Consumer } from "../broker.ts";
import type { Delivery, Message } from "../message.ts";
import { EmbeddedDelivery, type Holder, UnreadableDelivery } from "./delivery.ts";
import type { Entry } from "./entry.ts";
import { Fifo } from "./fifo.ts";
import type { Queue, Taker } from "./queue.ts";

/** What a consumer asks of those around it. */
export interface ConsumerHost {
  /** Attaches the consumer as soon as a queue of its name is declared again. */
  awaitQueue(consumer: EmbeddedConsumer): void;
  /** The consumer takes no more. */
  cancelled(consumer: EmbeddedConsumer): void;
  /** The consumer holds nothing more. */
  closed(consumer: EmbeddedConsumer): void;
}

type Step = IteratorResult<Delivery, undefined>;

const END: Step = { done: true, value: undefined };
const MAX_PREFETCH = 65_535;

/** @throws RangeError when it is no whole number from 1 to 65535. */
export function checkPrefetch(queue: string, prefetch: number): void {
  if (Number.isInteger(prefetch) && prefetch >= 1 && prefetch <= MAX_PREFETCH) return;
  throw new RangeError(
    `Cannot consume "${queue}": prefetch must be a whole number from 1 to ${MAX_PREFETCH}, ` +
      `got ${prefetch}`,
  );
}

export class EmbeddedConsumer implements Consumer, Taker, Holder {
  readonly queue: string;
  readonly #host: ConsumerHost;
  readonly #noAck: boolean;
  readonly isExclusive: boolean;
  #prefetch: number;
  /** open → cancelled → closed, or open → closed. */
  #state: "open" | "cancelled" | "closed" = "open";
  /** Undefined while there is no queue of this name, and once cancelled. */
  #source: Queue | undefined;
  readonly #unsettled = new Set<EmbeddedDelivery>();
  readonly #unseen = new Fifo<EmbeddedDelivery>();
  /** Calls of `next` that wait; while there are any, nothing is unseen. */
  readonly #waiting = new Fifo<(step: Step) => void>();
  readonly #iterator: AsyncIterableIterator<Delivery, undefined> = {
    next: () => this.#next(),
    return: () => this.close().then(() => END),
    [Symbol.asyncIterator]: () => this.#iterator,
  };

  /** @throws RangeError when the prefetch is out of range. */
  constructor(
    queue: string,
    host: ConsumerHost,
    { prefetch, noAck = false, exclusive = false }: ConsumeOptions,
  ) {
    if (!noAck) checkPrefetch(queue, prefetch);
    this.queue = queue;
    this.#host = host;
    this.#prefetch = prefetch;
    this.#noAck = noAck;
    this.isExclusive = exclusive;
  }

  get isLive(): boolean {
    return this.#source !== undefined;
  }

  get hasRoom(): boolean {
    return this.#noAck || this.#unsettled.size < this.#prefetch;
  }

  /** Consumes this queue from now on. */
  attach(queue: Queue): void {
    this.#source = queue;
    queue.addTaker(this);
  }

  take(entry: Entry, message: Message, unreadable: string | undefined): void {
    const holder = this.#noAck ? undefined : this;
    const delivery = unreadable === undefined
      ? new EmbeddedDelivery(message, entry, holder)
      : new UnreadableDelivery(message, entry, holder, unreadable);
    if (this.#noAck) entry.home.settle(entry);
    else this.#unsettled.add(delivery);
    const resolve = this.#waiting.shift();
    if (resolve === undefined) this.#unseen.push(delivery);
    else resolve({ done: false, value: delivery });
  }

  acked(delivery: EmbeddedDelivery): void {
    const { entry } = delivery;
    this.#unsettled.delete(delivery);
    entry.home.settle(entry);
    entry.home.pump();
  }

  nacked(delivery: EmbeddedDelivery, requeue: boolean): void {
    const { entry } = delivery;
    this.#unsettled.delete(delivery);
    if (requeue) entry.home.giveBack(entry, true);
    else entry.home.reject(entry);
    entry.home.pump();
  }

  setPrefetch(prefetch: number): void {
    checkPrefetch(this.queue, prefetch);
    if (this.isExclusive) {
      throw new RangeError(
        `Cannot change the prefetch of "${this.queue}": its consumer is exclusive`,
      );
    }
    this.#prefetch = prefetch;
    this.#source?.pump();
  }

  orphan(): void {
    for (const delivery of this.#unsettled) delivery.void();
    this.#unsettled.clear();
    this.#unseen.drain();
    this.#source = undefined;
    this.#host.awaitQueue(this);
  }

  cancel(): Promise<void> {
    this.#stopTaking();
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.release();
    return Promise.resolve();
  }

  /** `close`, in one turn. */
  release(): void {
    this.#stopTaking();
    if (this.#state === "closed") return;
    this.#state = "closed";
    const homes = new Set<Entry["home"]>();
    for (const delivery of this.#unsettled) {
      homes.add(delivery.entry.home);
      this.#return(delivery, true);
    }
    this.#unsettled.clear();
    for (const home of homes) home.pump();
    this.#host.closed(this);
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Delivery, undefined> {
    return this.#iterator;
  }

  #next(): Promise<Step> {
    const delivery = this.#unseen.shift();
    if (delivery !== undefined) return Promise.resolve({ done: false, value: delivery });
    if (this.#state !== "open") return Promise.resolve(END);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #stopTaking(): void {
    if (this.#state !== "open") return;
    this.#state = "cancelled";
    this.#host.cancelled(this);
    const source = this.#source;
    this.#source = undefined;
    source?.removeTaker(this);
    for (const delivery of this.#unseen.drain()) {
      if (this.#unsettled.delete(delivery)) this.#return(delivery, false);
    }
    source?.pump();
    for (let resolve = this.#waiting.shift(); resolve; resolve = this.#waiting.shift()) {
      resolve(END);
    }
  }

  #return(delivery: EmbeddedDelivery, wasSeen: boolean): void {
    delivery.void();
    delivery.entry.home.giveBack(delivery.entry, wasSeen);
  }
}
