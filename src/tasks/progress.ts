/** How far an attempt says it is: what may be said, and how often it leaves the isolate. */

/** What a task told last of how far it is. */
export interface Progress {
  /** 0 to 1. */
  readonly fraction: number;
  readonly message?: string;
}

/** At most four a second leave an attempt: who watches a bar sees no more, and nobody is flooded. */
export const PROGRESS_EVERY_MS = 250;
const MAX_MESSAGE_LENGTH = 1_024;

/** @throws Error when the fraction is no number from 0 to 1, or the message no text. */
export function readProgress(fraction: unknown, message: unknown): Progress {
  if (typeof fraction !== "number" || !(fraction >= 0 && fraction <= 1)) {
    throw new Error(
      `Cannot tell progress: the fraction must be a number from 0 to 1, got ${String(fraction)}`,
    );
  }
  if (message === undefined) return { fraction };
  if (typeof message !== "string") {
    throw new Error(`Cannot tell progress: the message must be a text, got ${typeof message}`);
  }
  return { fraction, message: message.slice(0, MAX_MESSAGE_LENGTH).toWellFormed() };
}

/** Sends the first report at once and the latest of those that follow, spaced out. */
export class ProgressReporter {
  readonly #send: (progress: Progress) => void;
  #latest: Progress | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(send: (progress: Progress) => void) {
    this.#send = send;
  }

  report(progress: Progress): void {
    if (this.#timer !== undefined) {
      this.#latest = progress;
      return;
    }
    this.#send(progress);
    this.#pause();
  }

  /** The attempt has ended: what it told last is sent now, and nothing later. */
  end(): void {
    clearTimeout(this.#timer);
    this.#sendLatest();
  }

  #pause(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#sendLatest()) this.#pause();
    }, PROGRESS_EVERY_MS);
  }

  #sendLatest(): boolean {
    const latest = this.#latest;
    this.#latest = undefined;
    if (latest !== undefined) this.#send(latest);
    return latest !== undefined;
  }
}
