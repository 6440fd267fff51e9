/**
 * What ended Web Workers leave behind, and when it is cleared away. Each leaves about 10 KiB until the
 * main thread's next collection, which a main thread that allocates little puts off for thousands of
 * them, and pages that its allocator keeps for the ended thread. Those are only given back by a full
 * collection, which stops the main thread: it waits for a quiet moment.
 */
import type { Clock, Timer } from "../lifecycle/clock.ts";
import { collectFully, collectSoon } from "../platform/garbage.ts";

/** Also how many must have ended for a full collection to be worth its pause. */
const COLLECT_EVERY = 16;
/** No isolate ended for so long: it is quiet. */
const QUIET_MS = 500;

/** How to collect: a test's own, or the runtime's. */
export interface Collector {
  /** Beside the running code. */
  readonly soon: () => void;
  /** At once, giving memory back to the system. */
  readonly fully: () => void;
}

const runtimeCollector: Collector = { soon: collectSoon, fully: collectFully };

export class Leftovers {
  readonly #clock: Clock;
  readonly #collector: Collector;
  /** Isolates that ended since the last full collection. */
  #count = 0;
  #quiet: Timer | undefined;

  constructor(clock: Clock, collector: Collector = runtimeCollector) {
    this.#clock = clock;
    this.#collector = collector;
  }

  /** An isolate's thread has ended. */
  add(): void {
    this.#count += 1;
    if (this.#count % COLLECT_EVERY === 0) this.#collector.soon();
    if (this.#count < COLLECT_EVERY) return;
    this.#quiet?.cancel();
    this.#quiet = this.#clock.after(QUIET_MS, () => this.#clear());
  }

  /** Nothing waits any more. */
  stop(): void {
    this.#quiet?.cancel();
    this.#quiet = undefined;
  }

  #clear(): void {
    this.#quiet = undefined;
    this.#count = 0;
    this.#collector.fully();
  }
}
