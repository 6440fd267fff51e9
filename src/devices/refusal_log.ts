/** Tells the operator which connections were refused, together: there may be thousands a second. */
import { getLogger } from "@logtape/logtape";
import type { Clock, Timer } from "../lifecycle/clock.ts";

const log = getLogger(["coxswain", "devices"]);

const TELL_EVERY_MS = 10_000;

interface Refused {
  count: number;
  /** One of those who were. */
  readonly remote: string;
}

export class RefusalLog {
  readonly #clock: Clock;
  readonly #refused = new Map<string, Refused>();
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param why one of a few texts. */
  add(why: string, remote: string): void {
    const known = this.#refused.get(why);
    if (known === undefined) this.#refused.set(why, { count: 1, remote });
    else known.count += 1;
    // The first at once.
    if (this.#timer === undefined) this.#tell();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #tell(): void {
    this.#timer = undefined;
    if (this.#refused.size === 0) return;
    for (const [why, { count, remote }] of this.#refused) {
      log.warn("Devices were refused: {why}", { why, count, remote });
    }
    this.#refused.clear();
    this.#timer = this.#clock.after(TELL_EVERY_MS, () => this.#tell());
  }
}
