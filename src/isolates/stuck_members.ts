/** Counts isolates that were killed and do not end: native code that blocks holds their threads. */
import type { Deadline, Deadlines } from "../async/deadlines.ts";
import type { Clock } from "../lifecycle/clock.ts";

/** A thread that can be stopped ends within a few milliseconds. */
const STUCK_AFTER_MS = 1_000;

export class StuckMembers<Key> {
  readonly #clock: Clock;
  readonly #deadlines: Deadlines;
  readonly #onStuck: (stuck: number) => void;
  readonly #watched = new Map<Key, Deadline>();
  readonly #stuck = new Set<Key>();

  /** @param onStuck called with the new count each time that another one is stuck. */
  constructor(clock: Clock, deadlines: Deadlines, onStuck: (stuck: number) => void) {
    this.#clock = clock;
    this.#deadlines = deadlines;
    this.#onStuck = onStuck;
  }

  get count(): number {
    return this.#stuck.size;
  }

  /** It was killed now. */
  watch(member: Key): void {
    const deadline = this.#deadlines.set(this.#clock.monotonic() + STUCK_AFTER_MS, () => {
      this.#watched.delete(member);
      this.#stuck.add(member);
      this.#onStuck(this.#stuck.size);
    });
    this.#watched.set(member, deadline);
  }

  /** It has ended. */
  closed(member: Key): void {
    const deadline = this.#watched.get(member);
    if (deadline) this.#deadlines.cancel(deadline);
    this.#watched.delete(member);
    this.#stuck.delete(member);
  }
}
