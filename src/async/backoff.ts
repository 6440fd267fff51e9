/** Growing pauses between tries, with jitter so that many who fail together do not return together. */

export interface BackoffOptions {
  /** The first pause, before jitter. */
  readonly baseMs: number;
  /** The longest pause. */
  readonly capMs: number;
  /** From 0 to 1. Default `Math.random`. */
  readonly random?: () => number;
}

/** Pauses that double from `baseMs` to `capMs`, each shortened at random by up to half. */
export class Backoff {
  readonly #options: BackoffOptions;
  #tries = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** The next pause in milliseconds. */
  next(): number {
    const { baseMs, capMs, random = Math.random } = this.#options;
    // 2^30 steps are past any cap, and keep the power finite.
    const fullMs = Math.min(capMs, baseMs * 2 ** Math.min(this.#tries, 30));
    this.#tries += 1;
    return fullMs * (1 - random() / 2);
  }

  /** It went well: the next pause is the first again. */
  reset(): void {
    this.#tries = 0;
  }
}
