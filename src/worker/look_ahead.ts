/**
 * How many deliveries a worker holds beyond its slots. A few keep short tasks from waiting for the
 * broker's next delivery (seen over RabbitMQ: 7,000 calls a second at prefetch 2, 20,000 at 64); many
 * would take long tasks away from other workers and from later messages of a higher priority.
 */

/** Few steps, because each change makes the consumers anew. */
const STEPS = [0, 4, 16, 64, 256] as const;
/** What is held ahead may keep the slots busy for this long. */
const HORIZON_MS = 20;
/** Tasks that must have ended before their mean counts. */
const WARM_UP = 8;
const SMOOTHING = 1 / 32;

/** Written by the executor, one for each worker. */
export class LookAhead {
  readonly #fixed: number | undefined;
  #slots: number;
  #meanMs = 0;
  #ended = 0;

  /** @param setting a number of deliveries, or "auto" to follow the tasks' durations. */
  constructor(setting: number | "auto", slots: number) {
    this.#fixed = setting === "auto" ? undefined : setting;
    this.#slots = slots;
  }

  /** The worker has so many slots now. */
  resize(slots: number): void {
    this.#slots = slots;
  }

  /** An attempt has ended. */
  ended(durationMs: number): void {
    this.#ended++;
    // The first ones weigh more, and one long task outweighs many short ones at once.
    const weight = Math.max(SMOOTHING, 1 / this.#ended);
    this.#meanMs += (durationMs - this.#meanMs) * weight;
  }

  /** An attempt runs for long: whatever was short is over. */
  sawLong(): void {
    this.#ended = 0;
    this.#meanMs = HORIZON_MS;
  }

  get value(): number {
    if (this.#fixed !== undefined) return this.#fixed;
    if (this.#ended < WARM_UP) return 0;
    const affordable = HORIZON_MS * this.#slots / Math.max(this.#meanMs, 0.01);
    return STEPS.findLast((step) => step <= affordable) ?? 0;
  }
}
