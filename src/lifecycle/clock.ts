/** Time as a dependency, so that tests can move it. */

/** A running timer; cancelling one that has fired does nothing. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since the Unix epoch: for instants that travel. */
  now(): number;
  /** Milliseconds that only ever grow: for durations and deadlines in this process. */
  monotonic(): number;
  /** Calls back once after `delayMs` (at most 2^31-1). */
  after(delayMs: number, callback: () => void): Timer;
}

/** The machine's clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};
