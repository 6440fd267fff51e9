/**
 * Holds a lease of the store for as long as this node lives, and runs what only one recorder may do
 * while it is held: with several recorders on one store, one of them publishes what is due.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { StoreAwayError } from "../../store/errors.ts";
import type { Lease, Store } from "../../store/store.ts";

const log = getLogger(["coxswain", "recorder"]);

const NAME = "recorder";
/** A recorder that is gone is succeeded after this. */
const TTL_MS = 10_000;
const RENEW_MS = 2_500;
/** What is under way must have ended when somebody else may begin. */
const MARGIN_MS = 2_000;
const ASK_AGAIN_MS = 1_000;

export interface LeaseOptions {
  readonly store: Store;
  readonly holder: string;
  readonly clock: Clock;
  /** Runs until the signal aborts, and resolves soon after. */
  readonly work: (signal: AbortSignal) => Promise<void>;
}

interface Working {
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

export class LeaseHolder {
  readonly #options: LeaseOptions;
  readonly #pause: Alarm;
  readonly #stopping = new AbortController();
  #working: Working | undefined;
  /** Monotonic instant until which it is ours. */
  #until = -Infinity;
  #running: Promise<void> | undefined;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#pause = new Alarm(options.clock);
  }

  get isHeld(): boolean {
    return this.#working !== undefined;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Lets the work end and gives the lease up. */
  async stop(): Promise<void> {
    if (this.#running === undefined) return;
    this.#stopping.abort();
    await this.#running;
    const { store, holder } = this.#options;
    try {
      await store.releaseLease(NAME, holder);
    } catch (error) {
      if (!(error instanceof StoreAwayError)) throw error;
      log.debug("The lease ends by itself: {reason}", { reason: error.message });
    }
  }

  async #run(): Promise<void> {
    const signal = this.#stopping.signal;
    while (!signal.aborted) {
      const pauseMs = await this.#ask();
      await this.#pause.wait(pauseMs, signal);
    }
    await this.#end();
  }

  /** @returns when to ask again. */
  async #ask(): Promise<number> {
    const { store, holder, clock } = this.#options;
    const askedAt = clock.monotonic();
    let lease: Lease;
    try {
      lease = await store.acquireLease(NAME, holder, TTL_MS);
    } catch (error) {
      if (!(error instanceof StoreAwayError)) {
        log.error("The lease of the recorders cannot be asked for: {error}", { error });
      }
      const leftMs = this.#until - MARGIN_MS - clock.monotonic();
      if (leftMs <= 0) await this.#end();
      return Math.min(ASK_AGAIN_MS, Math.max(leftMs, 100));
    }
    if (!lease.isHeld) {
      await this.#end();
      return Math.min(lease.leftMs + 50, ASK_AGAIN_MS);
    }
    // Counted from the question: the answer may have been long on its way.
    this.#until = askedAt + lease.leftMs;
    this.#begin();
    return RENEW_MS;
  }

  #begin(): void {
    if (this.#working !== undefined) return;
    log.debug("This recorder publishes what is due");
    const abort = new AbortController();
    this.#working = { abort, done: this.#options.work(abort.signal) };
  }

  async #end(): Promise<void> {
    const working = this.#working;
    this.#working = undefined;
    working?.abort.abort();
    await working?.done;
  }
}
