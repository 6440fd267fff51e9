/**
 * Runs consumed messages: a delivery goes through read → run → settle, as a task's does in executor.ts.
 * Foreign messages have no sender who waits and no id to go by, so the rules are others: see
 * consumed_settlement.ts, and docs/messages.md for how a message may end.
 */
import { Buffer } from "node:buffer";
import { isDeepStrictEqual } from "node:util";
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import type { Delivery } from "../broker/message.ts";
import type { AttemptEnd } from "../isolates/attempt.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import { newId as newUuid } from "../platform/ids.ts";
import { type ConsumerDescriptor, MAX_PAUSE_MS } from "../tasks/consumer.ts";
import {
  type Consumed,
  consumedBody,
  nextRound,
  readConsumed,
  remember,
  textHeaders,
} from "./consumed.ts";
import { type ConsumedSettlement, settleConsumed } from "./consumed_settlement.ts";
import { MessageEnds } from "./message_ends.ts";
import type { AttemptRunner } from "./executor.ts";

const log = getLogger(["coxswain", "worker"]);

/** Messages of one consumer that may pause before their next attempt; more stop its deliveries. */
export const MAX_PAUSING = 1_000;

export interface MessageRunnerOptions {
  readonly broker: Broker;
  readonly runner: AttemptRunner;
  readonly consumers: readonly ConsumerDescriptor[];
  /** Attempts that may run at once, over all consumers. */
  readonly slots: number;
  readonly node: string;
  /** So many messages of a queue pause now: they hold room that its other messages need. */
  readonly onPausing: (queue: string, pausing: number) => void;
  /** A message is dealt with. */
  readonly onSettled: (queue: string) => void;
  readonly clock?: Clock;
  readonly newId?: () => string;
}

/** A message in this worker's hands. `delivery` is replaced where the broker delivers it again. */
interface Held {
  delivery: Delivery;
  /** How often the broker had been lost when `delivery` came. */
  epoch: number;
  readonly consumed: Consumed;
  readonly lane: Lane;
  /** Set while it runs. */
  abort: AbortController | undefined;
  /** Set while it pauses: ends the pause early. */
  endPause: (() => void) | undefined;
}

/** One consumer's messages. */
interface Lane {
  readonly descriptor: ConsumerDescriptor;
  readonly held: Set<Held>;
  waiting: Held[];
  running: number;
  pausing: number;
}

export class MessageRunner {
  readonly #options: MessageRunnerOptions;
  readonly #clock: Clock;
  readonly #ends: MessageEnds;
  /** By queue, in the order in which they get the next free slot. */
  readonly #lanes: Map<string, Lane>;
  readonly #unwatch: () => void;
  #epoch = 0;
  #slots: number;
  #running = 0;
  #isStopping = false;
  #onIdle: (() => void) | undefined;

  constructor(options: MessageRunnerOptions) {
    const { broker, consumers, node, clock = systemClock, onSettled } = options;
    this.#options = options;
    this.#slots = options.slots;
    this.#clock = clock;
    this.#ends = new MessageEnds({ broker, node, clock, onSettled, onIdle: () => this.#told() });
    this.#lanes = new Map(consumers.map((descriptor) => [descriptor.queue, {
      descriptor,
      held: new Set(),
      waiting: [],
      running: 0,
      pausing: 0,
    }]));
    this.#unwatch = broker.watch(({ kind }) => {
      if (kind === "away") this.#epoch++;
    });
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#sum(({ waiting }) => waiting.length);
  }

  /** From now on so many may run at once. */
  resize(slots: number): void {
    this.#slots = slots;
    this.#dispatch();
  }

  /** Takes a delivery over: it will be settled, whatever becomes of it. Never throws. */
  accept(delivery: Delivery): void {
    const lane = this.#lanes.get(delivery.queue);
    if (lane === undefined || this.#isStopping) return delivery.nack({ requeue: true });
    if (delivery.redelivered && this.#adopt(delivery, lane)) return;
    const consumed = readConsumed(delivery, this.#options.newId ?? newUuid);
    const held: Held = {
      delivery,
      epoch: this.#epoch,
      consumed,
      lane,
      abort: undefined,
      endPause: undefined,
    };
    lane.held.add(held);
    if (delivery.unreadable !== undefined) {
      const reason = `Its properties cannot be read: ${delivery.unreadable}`;
      return this.#settle(held, { kind: "give_up", reason, failure: reason });
    }
    const pauseMs = (consumed.notBeforeAt ?? 0) - this.#clock.now();
    if (pauseMs > 0) {
      return this.#pause(held, Math.min(pauseMs, MAX_PAUSE_MS), () => this.#wait(held));
    }
    this.#wait(held);
  }

  /** Takes nothing more, gives back what has not started, and ends all pauses. */
  stopAccepting(): void {
    this.#isStopping = true;
    this.#unwatch();
    for (const lane of this.#lanes.values()) {
      for (const held of lane.waiting.splice(0)) this.#settle(held, { kind: "give_back" });
      for (const held of lane.held) held.endPause?.();
    }
    this.#ends.stopPausing();
  }

  /** Stops what still runs; it is given back. */
  abortRunning(): void {
    for (const { held } of this.#lanes.values()) for (const { abort } of held) abort?.abort();
  }

  /** Resolves when nothing runs and every settlement has been handed to the broker. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      this.#told();
    });
  }

  /**
   * The broker delivers again what it took back when the connection was lost. Where this worker is
   * still at it, it goes on with the new delivery. Messages need have no id: those that are alike in
   * everything are the same for all that follows. The old delivery is given back, which does nothing
   * unless it was another message after all.
   */
  #adopt(delivery: Delivery, { held }: Lane): boolean {
    for (const one of held) {
      if (one.epoch === this.#epoch || !isAlike(one.delivery, delivery)) continue;
      one.delivery.nack({ requeue: true });
      one.delivery = delivery;
      one.epoch = this.#epoch;
      return true;
    }
    return false;
  }

  #wait(held: Held): void {
    if (this.#isStopping) return this.#settle(held, { kind: "give_back" });
    held.lane.waiting.push(held);
    this.#dispatch();
  }

  /** The consumers take turns: one with many messages does not keep the others from theirs. */
  #dispatch(): void {
    while (this.#running < this.#slots) {
      const lane = this.#nextLane();
      const held = lane?.waiting.shift();
      if (lane === undefined || held === undefined) return;
      void this.#run(held);
    }
  }

  #nextLane(): Lane | undefined {
    for (const [queue, lane] of this.#lanes) {
      if (lane.waiting.length === 0 || lane.running >= lane.descriptor.prefetch) continue;
      this.#lanes.delete(queue);
      this.#lanes.set(queue, lane);
      return lane;
    }
    return undefined;
  }

  async #run(held: Held): Promise<void> {
    const { lane, consumed } = held;
    this.#running++;
    lane.running++;
    held.abort = new AbortController();
    // Forgotten before it runs: whatever happens from here on, it does not come back.
    if (lane.descriptor.noAck) held.delivery.ack();
    let settlement: ConsumedSettlement;
    try {
      const end = await this.#attempt(held, held.abort.signal);
      settlement = settleConsumed(end, {
        consumed,
        descriptor: lane.descriptor,
        isStopping: this.#isStopping,
      });
    } catch (error) {
      log.error("A message could not be run: {error}", { queue: lane.descriptor.queue, error });
      settlement = { kind: "give_back" };
    }
    held.abort = undefined;
    this.#running--;
    lane.running--;
    this.#settle(held, settlement);
    if (!this.#isStopping) this.#dispatch();
  }

  #attempt({ lane, consumed, delivery }: Held, signal: AbortSignal): Promise<AttemptEnd> {
    const { name, timeoutMs, softTimeoutMs, isolation, noAck } = lane.descriptor;
    const redelivered = delivery.redelivered || consumed.deaths > 0;
    return this.#options.runner.run({
      id: consumed.id,
      task: name,
      body: consumedBody(consumed, delivery.message, redelivered),
      attempt: consumed.failures + 1,
      redelivered,
      timeoutMs,
      ...(softTimeoutMs === undefined ? {} : { softTimeoutMs }),
      isolation,
      alone: redelivered,
      ...(noAck ? { once: true } : {}),
      headers: textHeaders(consumed),
    }, { signal });
  }

  #settle(held: Held, settlement: ConsumedSettlement): void {
    const { consumed, lane, delivery: { message } } = held;
    const { queue, noAck } = lane.descriptor;
    const facts = { queue, id: consumed.id, attempt: consumed.failures + 1 };
    const delivery = () => held.delivery;
    const over = () => void lane.held.delete(held);
    if (noAck && settlement.kind !== "done" && settlement.kind !== "give_back") {
      log.warn("A message of {queue} failed, and is gone: {failure}", {
        ...facts,
        failure: settlement.failure,
      });
      return this.#ends.ack(queue, delivery, over);
    }
    switch (settlement.kind) {
      case "done":
        return this.#ends.ack(queue, delivery, over);
      case "give_back":
        return this.#ends.giveBack(delivery, over);
      case "give_up": {
        const { reason, failure } = settlement;
        log.warn("Gave a message of {queue} up: {reason}", { ...facts, reason });
        const history = this.#remember(consumed, failure);
        return this.#ends.giveUp(queue, delivery, over, reason, consumed, {
          failures: consumed.failures + 1,
          deaths: consumed.deaths,
          history,
        });
      }
      case "try_again": {
        const { pauseMs, failures, deaths, failure } = settlement;
        log.warn("A message of {queue} failed and is tried again in {pauseMs} ms: {failure}", {
          ...facts,
          pauseMs,
          failure,
        });
        const history = this.#remember(consumed, failure);
        const endsAt = this.#clock.now() + pauseMs;
        return this.#pause(held, pauseMs, (isCutShort) => {
          // The connection was lost since: the message comes back by itself, or has already.
          if (held.epoch < this.#epoch) return this.#ends.giveBack(delivery, over);
          const notBefore = isCutShort ? { notBeforeAt: endsAt } : {};
          const next = nextRound(message, consumed, { failures, deaths, history, ...notBefore });
          this.#ends.publishAgain(queue, delivery, over, next);
        });
      }
    }
  }

  #remember(consumed: Consumed, failure: string): readonly string[] {
    return remember(consumed, failure, this.#options.node, this.#clock.now());
  }

  /** Pauses before `then`, which is told whether the worker's stop has cut the pause short. */
  #pause(held: Held, pauseMs: number, then: (isCutShort: boolean) => void): void {
    if (pauseMs <= 0) return then(false);
    if (this.#isStopping) return then(true);
    const { lane } = held;
    const end = (isCutShort: boolean) => {
      timer.cancel();
      held.endPause = undefined;
      lane.pausing--;
      this.#tellPausing(lane);
      then(isCutShort);
    };
    const timer = this.#clock.after(pauseMs, () => end(false));
    held.endPause = () => end(true);
    lane.pausing++;
    this.#tellPausing(lane);
  }

  #tellPausing({ descriptor, pausing }: Lane): void {
    this.#options.onPausing(descriptor.queue, pausing);
  }

  #told(): void {
    if (this.#running === 0 && this.#ends.isIdle) this.#onIdle?.();
  }

  #sum(count: (lane: Lane) => number): number {
    return [...this.#lanes.values()].reduce((sum, lane) => sum + count(lane), 0);
  }
}

function isAlike({ message: a }: Delivery, { message: b }: Delivery): boolean {
  return a.exchange === b.exchange && a.routingKey === b.routingKey &&
    a.body.length === b.body.length && Buffer.compare(a.body, b.body) === 0 &&
    isDeepStrictEqual(a.properties, b.properties);
}
