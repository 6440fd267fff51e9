/**
 * Keeps a queue bound to the ids that are held here, whatever comes and goes meanwhile: an id that went
 * before its binding was asked for costs the broker nothing.
 */
import { getLogger } from "@logtape/logtape";
import type { PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError } from "../broker/errors.ts";
import { DEVICES_EXCHANGE } from "../broker/topology.ts";
import type { Clock, Timer } from "../lifecycle/clock.ts";

const log = getLogger(["coxswain", "devices"]);

/** Bindings on their way at once. */
const WINDOW = 256;
/** After a refusal; somebody may have deleted the exchange. */
const PAUSE_MS = 1_000;

export class HeldBindings {
  readonly #clock: Clock;
  readonly #bound: (id: string) => void;
  readonly #wanted = new Set<string>();
  readonly #inPlace = new Set<string>();
  /** Ids whose binding is to change, in order. */
  readonly #toChange = new Set<string>();
  readonly #changing = new Set<string>();
  #queue: PrivateQueue | undefined;
  #pause: Timer | undefined;

  /** @param bound an id that is wanted has been bound. */
  constructor(clock: Clock, bound: (id: string) => void) {
    this.#clock = clock;
    this.#bound = bound;
  }

  /** From now on this queue is bound. */
  use(queue: PrivateQueue): void {
    this.#queue = queue;
    this.#pump();
  }

  isInPlace(id: string): boolean {
    return this.#inPlace.has(id) && this.#wanted.has(id);
  }

  /** The queue is to get what is for this id; `bound` is called when it does, where it did not. */
  hold(id: string): void {
    this.#wanted.add(id);
    this.#change(id);
  }

  release(id: string): void {
    this.#wanted.delete(id);
    this.#change(id);
  }

  /** Changes nothing more. */
  stop(): void {
    this.#queue = undefined;
    this.#pause?.cancel();
    this.#toChange.clear();
  }

  #change(id: string): void {
    if (!this.#changing.has(id)) {
      if (this.#wanted.has(id) === this.#inPlace.has(id)) this.#toChange.delete(id);
      else this.#toChange.add(id);
    }
    this.#pump();
  }

  #pump(): void {
    const queue = this.#queue;
    if (queue === undefined || this.#pause !== undefined) return;
    for (const id of this.#toChange) {
      if (this.#changing.size >= WINDOW) return;
      this.#toChange.delete(id);
      this.#changing.add(id);
      void this.#apply(queue, id, this.#wanted.has(id));
    }
  }

  async #apply(queue: PrivateQueue, id: string, isWanted: boolean): Promise<void> {
    const binding = { exchange: DEVICES_EXCHANGE.name, routingKey: id };
    try {
      await (isWanted ? queue.bind(binding) : queue.unbind(binding));
      if (isWanted) this.#inPlace.add(id);
      else this.#inPlace.delete(id);
    } catch (error) {
      if (this.#queue === undefined) return;
      // A queue that is closed is bound no more; else somebody has to put the exchange right.
      log.warn("Cannot bind the queue of commands, trying on: {reason}", {
        device: id,
        reason: error instanceof Error ? error.message : String(error),
        isAway: error instanceof BrokerAwayError,
      });
      this.#pause ??= this.#clock.after(PAUSE_MS, () => {
        this.#pause = undefined;
        this.#pump();
      });
    }
    this.#changing.delete(id);
    if (isWanted && this.isInPlace(id)) this.#bound(id);
    this.#change(id);
  }
}
