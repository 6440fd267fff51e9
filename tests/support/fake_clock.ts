/** A clock that stands still until a test moves it. */
import type { Clock, Timer } from "../../src/lifecycle/clock.ts";

interface Waiting {
  readonly at: number;
  readonly callback: () => void;
}

export class FakeClock implements Clock {
  #elapsedMs = 0;
  #startAt: number;
  readonly #waiting = new Set<Waiting>();

  /** @param startAt what `now` says at first, in milliseconds since the epoch. */
  constructor(startAt = Date.UTC(2030, 0, 1)) {
    this.#startAt = startAt;
  }

  /** Timers that have neither fired nor been cancelled. */
  get timers(): number {
    return this.#waiting.size;
  }

  now(): number {
    return this.#startAt + this.#elapsedMs;
  }

  /** Somebody sets the clock: forward, or back. Durations go on as they were. */
  set(byMs: number): void {
    this.#startAt += byMs;
  }

  monotonic(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const waiting = { at: this.#elapsedMs + Math.max(0, delayMs), callback };
    this.#waiting.add(waiting);
    return { cancel: () => void this.#waiting.delete(waiting) };
  }

  /** Moves time on, calling what becomes due in order, each at its own instant. */
  advance(ms: number): void {
    const end = this.#elapsedMs + ms;
    for (let next = this.#nextUntil(end); next; next = this.#nextUntil(end)) {
      this.#waiting.delete(next);
      this.#elapsedMs = Math.max(this.#elapsedMs, next.at);
      next.callback();
    }
    this.#elapsedMs = end;
  }

  #nextUntil(end: number): Waiting | undefined {
    let next: Waiting | undefined;
    for (const waiting of this.#waiting) {
      if (waiting.at <= end && (next === undefined || waiting.at < next.at)) next = waiting;
    }
    return next;
  }
}
