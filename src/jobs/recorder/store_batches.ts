/**
 * What others tell on a durable queue into the store: many entries in one transaction, acked after its
 * commit. While the store is away nothing is acked: what is held is tried again, the rest waits in the
 * broker. What is told, and how it is recorded, is a `BatchSource`: job events (event_batches.ts), the
 * status of devices (device_batches.ts).
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import { Backoff } from "../../async/backoff.ts";
import type { Broker, Consumer } from "../../broker/broker.ts";
import type { Delivery, Message } from "../../broker/message.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { StoreAwayError } from "../../store/errors.ts";
import type { Store } from "../../store/store.ts";

const log = getLogger(["coxswain", "recorder"]);

/** Events of one transaction; a message's events are never parted. */
const MAX_EVENTS = 500;
/** From one commit to the next at least, unless a full batch waits: each costs the disk a flush. */
const LINGER_MS = 20;
const BACKOFF = { baseMs: 200, capMs: 5_000 } as const;
/** Messages that may be unacked; as many as fit into the budget, by what the last ones weighed. */
const PREFETCH = { first: 50, min: 5, max: 200, budgetBytes: 32 * 2 ** 20 } as const;

/** One kind of what is recorded. */
export interface BatchSource<E> {
  /** What its events are, for the log. */
  readonly subject: string;
  readonly queue: string;
  /** The events of a message; what cannot be read is told there, and passed over. */
  read(message: Message): readonly E[];
  /** A body with this event alone. */
  encode(event: E): Uint8Array;
  /** When it happened. */
  at(event: E): number;
  /**
   * Writes them, all or none. @returns what is to be called once they are acked.
   * @throws StoreAwayError; anything else: the store refuses one of them.
   */
  record(events: readonly E[]): Promise<() => void>;
  /** The store refuses this one for good: tells so, and keeps what is to be kept of it. */
  giveUp(message: Message, event: E | undefined, refusal: unknown): Promise<void>;
}

export interface StoreBatchesOptions<E> {
  readonly broker: Broker;
  readonly store: Pick<Store, "ping">;
  readonly clock: Clock;
  readonly source: BatchSource<E>;
}

export interface BatchesStatus {
  /** Messages that were received and are not recorded yet. */
  readonly held: number;
  /** How old the oldest event of the latest commit was then. */
  readonly behindMs: number;
  /** When that was; absent: nothing was recorded yet. */
  readonly recordedAt?: number;
  /** Why the store does not take them now. */
  readonly obstacle?: string;
}

/** One message with its events. */
interface Entry<E> {
  readonly delivery: Delivery;
  readonly events: readonly E[];
}

/** States: idle → consuming ⇄ paused → stopped. */
export class StoreBatches<E> {
  readonly #options: StoreBatchesOptions<E>;
  readonly #filled: Alarm;
  readonly #backoff = new Backoff(BACKOFF);
  #waiting: Entry<E>[] = [];
  #waitingEvents = 0;
  #underway = 0;
  #consumer: Consumer | undefined;
  #reading: Promise<void> = Promise.resolve();
  #writing: Promise<void> | undefined;
  readonly #stopping = new AbortController();
  /** No patience any more: what is not recorded goes back. */
  readonly #aborting = new AbortController();
  #prefetch: number = PREFETCH.first;
  #committedAt = -Infinity;
  #recordedAt: number | undefined;
  #behindMs = 0;
  #obstacle: string | undefined;

  constructor(options: StoreBatchesOptions<E>) {
    this.#options = options;
    this.#filled = new Alarm(options.clock);
  }

  get status(): BatchesStatus {
    return {
      held: this.#waiting.length + this.#underway,
      behindMs: this.#behindMs,
      ...(this.#recordedAt === undefined ? {} : { recordedAt: this.#recordedAt }),
      ...(this.#obstacle === undefined ? {} : { obstacle: this.#obstacle }),
    };
  }

  /** Begins, or goes on after a pause. */
  async resume(): Promise<void> {
    if (this.#consumer !== undefined || this.#stopping.signal.aborted) return;
    const { broker, source } = this.#options;
    const consumer = await broker.consume(source.queue, { prefetch: this.#prefetch });
    this.#consumer = consumer;
    this.#reading = this.#read(consumer);
    this.#writing ??= this.#write();
  }

  /** Gives back what is held and takes nothing more. */
  async pause(): Promise<void> {
    const consumer = this.#consumer;
    this.#consumer = undefined;
    await consumer?.close();
    await this.#reading;
    this.#waiting = [];
    this.#waitingEvents = 0;
  }

  /** Takes nothing more, records what it holds until the signal aborts, and gives back the rest. */
  async stop(abort?: AbortSignal): Promise<void> {
    const consumer = this.#consumer;
    this.#consumer = undefined;
    await consumer?.cancel();
    await this.#reading;
    const onAbort = () => this.#aborting.abort();
    if (abort?.aborted) onAbort();
    abort?.addEventListener("abort", onAbort, { once: true });
    this.#stopping.abort();
    await this.#writing;
    abort?.removeEventListener("abort", onAbort);
    await consumer?.close();
  }

  async #read(consumer: Consumer): Promise<void> {
    for await (const delivery of consumer) {
      const events = this.#options.source.read(delivery.message);
      if (events.length === 0) {
        delivery.ack();
        continue;
      }
      this.#waiting.push({ delivery, events });
      this.#waitingEvents += events.length;
      if (this.#waiting.length === 1 || this.#isFull) this.#filled.ring();
    }
  }

  async #write(): Promise<void> {
    const { clock } = this.#options;
    const stopping = this.#stopping.signal;
    while (!this.#aborting.signal.aborted) {
      if (this.#waiting.length === 0) {
        if (stopping.aborted) return;
        await this.#filled.wait(Infinity, stopping);
        continue;
      }
      // What comes in this turn goes together, and under load what comes in the next 20 ms.
      await nextTurn();
      while (!this.#isFull && !stopping.aborted) {
        const leftMs = this.#committedAt + LINGER_MS - clock.monotonic();
        if (leftMs <= 0) break;
        await this.#filled.wait(leftMs, stopping);
      }
      this.#committedAt = clock.monotonic();
      const batch = this.#take();
      if (batch.length > 0) await this.#record(batch);
    }
  }

  /** More would not fit into a transaction, or does not come before something is acked. */
  get #isFull(): boolean {
    return this.#waitingEvents >= MAX_EVENTS || this.#waiting.length >= this.#prefetch / 2;
  }

  #take(): readonly Entry<E>[] {
    let events = 0;
    let count = 0;
    for (const entry of this.#waiting) {
      if (count > 0 && events + entry.events.length > MAX_EVENTS) break;
      events += entry.events.length;
      count++;
    }
    this.#waitingEvents -= events;
    return this.#waiting.splice(0, count);
  }

  /** Tries until it is done, or there is no patience any more. */
  async #record(batch: readonly Entry<E>[]): Promise<void> {
    this.#underway = batch.length;
    const aborting = this.#aborting.signal;
    while (!aborting.aborted) {
      const failure = await this.#try(batch);
      if (failure === undefined) break;
      const reason = failure instanceof Error ? failure.message : String(failure);
      if (this.#obstacle !== reason) {
        const { subject } = this.#options.source;
        log.warn("{subject} wait for the store: {reason}", {
          subject,
          reason,
          held: batch.length,
        });
      }
      this.#obstacle = reason;
      await this.#pauseBefore(aborting);
    }
    this.#underway = 0;
    this.#adjust(batch);
  }

  async #pauseBefore(signal: AbortSignal): Promise<void> {
    const pause = new Alarm(this.#options.clock);
    await pause.wait(this.#backoff.next(), signal);
  }

  /** @returns why the store does not take anything now. */
  async #try(batch: readonly Entry<E>[]): Promise<unknown> {
    const { store, clock, source } = this.#options;
    const events = batch.flatMap((entry) => entry.events);
    let recorded: () => void;
    try {
      recorded = await source.record(events);
    } catch (error) {
      if (error instanceof StoreAwayError) return error;
      const away = await store.ping().then(() => undefined, (failure: unknown) => failure);
      // It answers, so that it is these events which it does not take.
      return away ?? await this.#part(batch, error);
    }
    for (const { delivery } of batch) delivery.ack();
    if (this.#obstacle !== undefined) {
      log.info("{subject} are taken by the store again", { subject: source.subject });
    }
    this.#obstacle = undefined;
    this.#backoff.reset();
    this.#recordedAt = clock.now();
    this.#behindMs = Math.max(0, this.#recordedAt - Math.min(...events.map(source.at)));
    recorded();
    return undefined;
  }

  /** Finds the one that the store refuses, by halves; that one is given up. */
  async #part(batch: readonly Entry<E>[], refusal: unknown): Promise<unknown> {
    const [first, ...rest] = batch;
    if (first === undefined) return undefined;
    if (rest.length > 0) {
      const middle = Math.ceil(batch.length / 2);
      return await this.#try(batch.slice(0, middle)) ?? await this.#try(batch.slice(middle));
    }
    if (first.events.length > 1) {
      for (const event of first.events) {
        // The message is acked only with its last event.
        const isLast = event === first.events.at(-1);
        const delivery = isLast ? first.delivery : this.#unsettled(first.delivery, event);
        const failure = await this.#try([{ delivery, events: [event] }]);
        if (failure !== undefined) return failure;
      }
      return undefined;
    }
    return await this.#giveUp(first, refusal);
  }

  async #giveUp({ delivery, events: [event] }: Entry<E>, refusal: unknown): Promise<unknown> {
    try {
      await this.#options.source.giveUp(delivery.message, event, refusal);
    } catch (error) {
      return error;
    }
    delivery.ack();
    return undefined;
  }

  /** A part of a message, which must not settle it. */
  #unsettled(delivery: Delivery, event: E): Delivery {
    return {
      message: { ...delivery.message, body: this.#options.source.encode(event) },
      queue: delivery.queue,
      redelivered: delivery.redelivered,
      ack() {},
      nack() {},
    };
  }

  /** Holds more of what is small, and less of what is large. */
  #adjust(batch: readonly Entry<E>[]): void {
    const bytes = batch.reduce((sum, { delivery }) => sum + delivery.message.body.byteLength, 0);
    const fitting = Math.floor(PREFETCH.budgetBytes / (bytes / batch.length + 1));
    const wanted = Math.min(PREFETCH.max, Math.max(PREFETCH.min, fitting));
    if (wanted < this.#prefetch * 2 && wanted > this.#prefetch / 2) return;
    this.#prefetch = wanted;
    this.#consumer?.setPrefetch(wanted);
  }
}

/** After all that has come in already was seen. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
