/**
 * Job events from `cox.recorder` into the store: many in one transaction, acked after its commit. While
 * the store is away nothing is acked: what is held is tried again, the rest waits in the broker.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import { Backoff } from "../../async/backoff.ts";
import type { Broker, Consumer } from "../../broker/broker.ts";
import type { Delivery } from "../../broker/message.ts";
import { publishPatiently } from "../../broker/publish_patiently.ts";
import { DEAD_LETTERS_QUEUE, RECORDER_QUEUE } from "../../broker/topology.ts";
import { deadLetter } from "../../calls/wire/task_message.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { StoreAwayError } from "../../store/errors.ts";
import type { Store } from "../../store/store.ts";
import type { Job } from "../job.ts";
import { decodeJobEvents, encodeJobEvents, type JobEvent } from "../job_event.ts";

const log = getLogger(["coxswain", "recorder"]);

/** Events of one transaction; a message's events are never parted. */
const MAX_EVENTS = 500;
/** From one commit to the next at least, unless a full batch waits: each costs the disk a flush. */
const LINGER_MS = 20;
const BACKOFF = { baseMs: 200, capMs: 5_000 } as const;
/** Messages that may be unacked; as many as fit into the budget, by what the last ones weighed. */
const PREFETCH = { first: 50, min: 5, max: 200, budgetBytes: 32 * 2 ** 20 } as const;
const GIVE_UP_PATIENCE_MS = 5_000;

export interface EventBatchesOptions {
  readonly broker: Broker;
  readonly store: Store;
  readonly node: string;
  readonly clock: Clock;
  /** Told of each job that a commit changed. */
  readonly recorded: (jobs: readonly Job[]) => void;
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
interface Entry {
  readonly delivery: Delivery;
  readonly events: readonly JobEvent[];
}

/** States: idle → consuming ⇄ paused → stopped. */
export class EventBatches {
  readonly #options: EventBatchesOptions;
  readonly #filled: Alarm;
  readonly #backoff = new Backoff(BACKOFF);
  #waiting: Entry[] = [];
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

  constructor(options: EventBatchesOptions) {
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
    const { broker } = this.#options;
    const consumer = await broker.consume(RECORDER_QUEUE.name, { prefetch: this.#prefetch });
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
      const events = readEvents(delivery);
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

  #take(): readonly Entry[] {
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
  async #record(batch: readonly Entry[]): Promise<void> {
    this.#underway = batch.length;
    const aborting = this.#aborting.signal;
    while (!aborting.aborted) {
      const failure = await this.#try(batch);
      if (failure === undefined) break;
      const reason = failure instanceof Error ? failure.message : String(failure);
      if (this.#obstacle !== reason) {
        log.warn("Job events wait for the store: {reason}", { reason, held: batch.length });
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
  async #try(batch: readonly Entry[]): Promise<unknown> {
    const { store, clock, recorded } = this.#options;
    const events = batch.flatMap((entry) => entry.events);
    let jobs: readonly Job[];
    try {
      jobs = await store.recordEvents(events);
    } catch (error) {
      if (error instanceof StoreAwayError) return error;
      const away = await store.ping().then(() => undefined, (failure: unknown) => failure);
      // It answers, so that it is these events which it does not take.
      return away ?? await this.#part(batch, error);
    }
    for (const { delivery } of batch) delivery.ack();
    if (this.#obstacle !== undefined) log.info("The store takes job events again");
    this.#obstacle = undefined;
    this.#backoff.reset();
    this.#recordedAt = clock.now();
    this.#behindMs = Math.max(0, this.#recordedAt - Math.min(...events.map(({ at }) => at)));
    recorded(jobs);
    return undefined;
  }

  /** Finds the one that the store refuses, by halves; that one is kept as a dead letter. */
  async #part(batch: readonly Entry[], refusal: unknown): Promise<unknown> {
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
        const delivery = isLast ? first.delivery : unsettled(first.delivery, event);
        const failure = await this.#try([{ delivery, events: [event] }]);
        if (failure !== undefined) return failure;
      }
      return undefined;
    }
    return await this.#giveUp(first, refusal);
  }

  async #giveUp({ delivery, events: [event] }: Entry, refusal: unknown): Promise<unknown> {
    const { broker, node, clock } = this.#options;
    const reason = `The store does not take this job event: ${String(refusal)}`;
    log.error("An event cannot be recorded: {reason}", {
      reason,
      jobId: event?.id,
      kind: event?.kind,
    });
    const letter = deadLetter(delivery.message, {
      to: DEAD_LETTERS_QUEUE.name,
      reason: reason.slice(0, 1_000).toWellFormed(),
      queue: RECORDER_QUEUE.name,
      node,
      at: clock.now(),
    });
    try {
      await publishPatiently(broker, letter, { confirm: true }, GIVE_UP_PATIENCE_MS);
    } catch (error) {
      return error;
    }
    delivery.ack();
    return undefined;
  }

  /** Holds more of what is small, and less of what is large. */
  #adjust(batch: readonly Entry[]): void {
    const bytes = batch.reduce((sum, { delivery }) => sum + delivery.message.body.byteLength, 0);
    const fitting = Math.floor(PREFETCH.budgetBytes / (bytes / batch.length + 1));
    const wanted = Math.min(PREFETCH.max, Math.max(PREFETCH.min, fitting));
    if (wanted < this.#prefetch * 2 && wanted > this.#prefetch / 2) return;
    this.#prefetch = wanted;
    this.#consumer?.setPrefetch(wanted);
  }
}

/**
 * The events of a message. What cannot be read is told once and passed over: it is nobody's outcome
 * that could be waited for, or one that a newer version will have told in words of its own.
 */
function readEvents(delivery: Delivery): readonly JobEvent[] {
  const { body } = delivery.message;
  const decoded = decodeJobEvents(body);
  if (decoded.kind === "events") return decoded.events;
  const parts = partsOf(body).map((part) => decodeJobEvents(part));
  const events = parts.flatMap((part) => part.kind === "events" ? part.events : []);
  log.warn("Passed over job events that cannot be read: {reason}", {
    reason: decoded.reason,
    events: Math.max(1, parts.length - events.length),
    routingKey: delivery.message.routingKey,
    beginning: new TextDecoder().decode(body.subarray(0, 200)),
  });
  return events;
}

/** Each event of a group as a body of its own: one that cannot be read is not the others' fault. */
function partsOf(body: Uint8Array): readonly Uint8Array[] {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return [];
    throw error;
  }
  if (!Array.isArray(json) || json.length < 2) return [];
  return json.map((event: JobEvent) => encodeJobEvents([event]));
}

/** A part of a message, which must not settle it. */
function unsettled(delivery: Delivery, event: JobEvent): Delivery {
  const body = encodeJobEvents([event]);
  return {
    message: { ...delivery.message, body },
    queue: delivery.queue,
    redelivered: delivery.redelivered,
    ack() {},
    nack() {},
  };
}

/** After all that has come in already was seen. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
