/**
 * Many deadlines, one timer: for things that are nearly always over before their time, where a timer
 * each would cost more than the work. A binary heap ordered by instant.
 */
import type { Clock, Timer } from "../lifecycle/clock.ts";
import { MAX_DURATION_MS } from "../lifecycle/duration.ts";

/** One deadline that has been set; `cancel` takes it back. */
export interface Deadline {
  /** On the clock's monotonic scale, in milliseconds. */
  readonly at: number;
  /** Written by the queue: its place in the heap, -1 when it is no longer there. */
  place: number;
  readonly expire: () => void;
}

export class Deadlines {
  readonly #clock: Clock;
  readonly #heap: Deadline[] = [];
  #timer: Timer | undefined;
  #armedFor = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#heap.length;
  }

  /**
   * Calls `expire` once when the clock's monotonic time reaches `at`, never sooner and never from
   * within this call.
   */
  set(at: number, expire: () => void): Deadline {
    const deadline: Deadline = { at, place: this.#heap.length, expire };
    this.#heap.push(deadline);
    this.#rise(deadline);
    if (at < this.#armedFor) this.#arm(at);
    return deadline;
  }

  /** Takes a deadline back; one that has passed or was taken back is fine. */
  cancel(deadline: Deadline): void {
    const { place } = deadline;
    if (place < 0) return;
    deadline.place = -1;
    const last = this.#heap.pop();
    if (last !== undefined && last !== deadline) {
      last.place = place;
      this.#heap[place] = last;
      this.#rise(last);
      this.#sink(last);
    }
    // The timer stays as it is: at worst it finds nothing due. Only an empty queue lets go of it, so
    // that it does not keep the process alive.
    if (this.#heap.length === 0) this.#disarm();
  }

  #arm(at: number): void {
    this.#timer?.cancel();
    this.#armedFor = at;
    const delayMs = Math.min(Math.max(0, Math.ceil(at - this.#clock.monotonic())), MAX_DURATION_MS);
    this.#timer = this.#clock.after(delayMs, () => this.#expireDue());
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#armedFor = Infinity;
  }

  #expireDue(): void {
    this.#disarm();
    const now = this.#clock.monotonic();
    // One by one: a callback may take back a deadline that is due too, or set another.
    for (let first = this.#heap[0]; first && first.at <= now; first = this.#heap[0]) {
      this.cancel(first);
      first.expire();
    }
    const next = this.#heap[0];
    if (next && next.at < this.#armedFor) this.#arm(next.at);
  }

  #rise(deadline: Deadline): void {
    while (deadline.place > 0) {
      const parent = this.#heap[(deadline.place - 1) >> 1];
      if (!parent || parent.at <= deadline.at) return;
      this.#swap(deadline, parent);
    }
  }

  #sink(deadline: Deadline): void {
    while (true) {
      const left = this.#heap[2 * deadline.place + 1];
      const right = this.#heap[2 * deadline.place + 2];
      const child = right && left && right.at < left.at ? right : left;
      if (!child || deadline.at <= child.at) return;
      this.#swap(child, deadline);
    }
  }

  /** Exchanges a deadline with its parent. */
  #swap(child: Deadline, parent: Deadline): void {
    const place = child.place;
    child.place = parent.place;
    parent.place = place;
    this.#heap[child.place] = child;
    this.#heap[place] = parent;
  }
}
