/** How often something happens: in all, and a second of late. */
import type { Clock } from "../lifecycle/clock.ts";

/** "Of late" is this long; it is kept in so many parts. */
const SPAN_MS = 10_000;
const PARTS = 10;
const PART_MS = SPAN_MS / PARTS;

export class Rate {
  readonly #clock: Clock;
  readonly #startedAt: number;
  /** Counts of the latest parts, by their number modulo `PARTS`. */
  readonly #parts = new Array<number>(PARTS).fill(0);
  /** Number of the part that was counted in last. */
  #part: number;
  #total = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
    this.#part = this.#present();
  }

  get total(): number {
    return this.#total;
  }

  /** Rounded to a tenth. Over the time since the start while that is shorter than the span. */
  get perSecond(): number {
    this.#forgetOld();
    const ageMs = this.#clock.monotonic() - this.#startedAt;
    const sum = this.#parts.reduce((a, b) => a + b, 0);
    const seconds = Math.min(Math.max(ageMs, PART_MS), SPAN_MS) / 1_000;
    return Math.round(sum / seconds * 10) / 10;
  }

  count(): void {
    this.#total++;
    this.#forgetOld();
    const index = this.#part % PARTS;
    this.#parts[index] = (this.#parts[index] ?? 0) + 1;
  }

  #present(): number {
    return Math.floor((this.#clock.monotonic() - this.#startedAt) / PART_MS);
  }

  #forgetOld(): void {
    const present = this.#present();
    const passed = Math.min(present - this.#part, PARTS);
    for (let step = 1; step <= passed; step++) this.#parts[(this.#part + step) % PARTS] = 0;
    this.#part = present;
  }
}
