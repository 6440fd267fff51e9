/** Waiting for a while, or until somebody says that there is something to do. */
import type { Clock, Timer } from "../lifecycle/clock.ts";
import { MAX_DURATION_MS } from "../lifecycle/duration.ts";

/** For one waiter at a time. */
export class Alarm {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;
  /** Somebody rang while nobody waited: the next wait is over at once. */
  #hasRung = false;
  /** Monotonic end of the present wait. */
  #until = -Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves after the time, when it rings, or when the signal aborts, whichever is first. */
  async wait(durationMs: number, signal?: AbortSignal): Promise<void> {
    if (this.#hasRung || signal?.aborted || durationMs <= 0) {
      this.#hasRung = false;
      return;
    }
    let timer: Timer | undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    const onAbort = () => resolve();
    this.#wake = resolve;
    this.#until = this.#clock.monotonic() + durationMs;
    signal?.addEventListener("abort", onAbort, { once: true });
    if (durationMs < MAX_DURATION_MS) timer = this.#clock.after(durationMs, resolve);
    await promise;
    signal?.removeEventListener("abort", onAbort);
    timer?.cancel();
    this.#wake = undefined;
    this.#until = -Infinity;
    this.#hasRung = false;
  }

  /** Ends the present wait, or the next one at once. */
  ring(): void {
    if (this.#wake === undefined) this.#hasRung = true;
    else this.#wake();
  }

  /** Rings where the present wait would end later than in so many milliseconds. */
  ringWithin(durationMs: number): void {
    if (this.#wake === undefined) this.#hasRung = true;
    else if (this.#clock.monotonic() + durationMs < this.#until) this.#wake();
  }
}
