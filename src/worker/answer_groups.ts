/**
 * Lets answers travel together. Isolates end short attempts one by one, and each answer by itself is a
 * system call here, a packet for the broker and another for the caller (seen over RabbitMQ: 40 µs of
 * processor time a call more than in groups). So while more short work waits, a few are gathered.
 * Nothing is held where nothing waits: a lone call is answered at once.
 */
import type { Clock, Timer } from "../lifecycle/clock.ts";

/** Most answers that are held. */
const GROUP = 16;
/** An answer is held for no longer than about this. */
const HOLD_MS = 1;
/** What took longer than this is not worth a wait. */
const SHORT_MS = 1;

/** Written by the executor, one for each worker. */
export class AnswerGroups {
  readonly #clock: Clock;
  #held: (() => void)[] = [];
  /** Fires though its group may be gone: it then sends the next one early. */
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Calls `send` now or soon, in order.
   * @param durationMs how long what is answered took.
   * @param isMoreWaiting whether further answers are to be expected at once.
   */
  add(send: () => void, durationMs: number, isMoreWaiting: boolean): void {
    this.#held.push(send);
    if (!isMoreWaiting || durationMs > SHORT_MS || this.#held.length >= GROUP) return this.flush();
    this.#timer ??= this.#clock.after(HOLD_MS, () => {
      this.#timer = undefined;
      this.flush();
    });
  }

  /** Sends what is held. */
  flush(): void {
    const held = this.#held;
    if (held.length === 0) return;
    this.#held = [];
    for (const send of held) send();
  }
}
