/**
 * Brings one thing back that lives on the consuming connection (a consumer, a private queue) whenever
 * it is lost: with the next connection, or on this one after a pause.
 */
import { Backoff } from "../../async/backoff.ts";
import type { Clock, Timer } from "../../lifecycle/clock.ts";
import type { Connection } from "./connection.ts";
import type { Link } from "./link.ts";

/** The first pause leaves whoever deleted a queue the time to make another of its name. */
const BACKOFF = { baseMs: 200, capMs: 2_000 } as const;

export interface RestorerOptions {
  readonly link: Link;
  readonly clock: Clock;
  /** Makes it anew; rejects when that failed. */
  readonly restore: (connection: Connection) => Promise<void>;
  /** Told of each try that failed and of the one that did not (undefined). */
  readonly tried: (failure: unknown) => void;
}

/** States: resting (all is well) → waiting (for a connection or a pause) → restoring → resting. */
export class Restorer {
  readonly #options: RestorerOptions;
  readonly #backoff = new Backoff(BACKOFF);
  #isStopped = false;
  #isBusy = false;
  /** It was lost in the moment in which it came back. */
  #isLostAgain = false;
  #timer: Timer | undefined;
  #unwatch: (() => void) | undefined;

  constructor(options: RestorerOptions) {
    this.#options = options;
  }

  /** It was lost. */
  lost(): void {
    this.#isLostAgain = true;
    if (this.#isStopped || this.#isBusy) return;
    this.#isBusy = true;
    this.#backoff.reset();
    this.#next();
  }

  /** Nothing is restored any more. Idempotent. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#unwatch?.();
  }

  #next(): void {
    const { link, clock } = this.#options;
    const again = () => {
      this.#unwatch = link.whenUp((connection) => void this.#try(connection));
    };
    // The next connection is not to be waited for longer than it takes.
    if (link.connection === undefined) again();
    else this.#timer = clock.after(this.#backoff.next(), again);
  }

  async #try(connection: Connection): Promise<void> {
    const { restore, tried } = this.#options;
    this.#isLostAgain = false;
    try {
      await restore(connection);
    } catch (error) {
      if (this.#isStopped) return;
      tried(error);
      return this.#next();
    }
    if (this.#isStopped) return;
    if (this.#isLostAgain) return this.#next();
    this.#isBusy = false;
    tried(undefined);
  }
}
