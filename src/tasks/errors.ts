/** The errors that tasks and the program say to each other with. */
import { parseDuration } from "../lifecycle/duration.ts";
import type { Duration } from "./options.ts";

/** Options of `Retry`. */
export interface RetryRequest {
  /** Pause before the next attempt, such as "5s"; absent: what the task's retry policy says. */
  readonly after?: Duration;
  /** What went wrong, for logs and for the caller when no attempts are left. */
  readonly message?: string;
  readonly cause?: unknown;
}

/**
 * Thrown by a task to ask for another attempt, whatever went wrong.
 *
 * @example
 * if (response.status === 429) throw new Retry({ after: "30s" });
 */
export class Retry extends Error {
  override readonly name: string = "Retry";
  /** Milliseconds before the next attempt; undefined: the retry policy decides. */
  readonly afterMs: number | undefined;

  /** @throws RangeError when `after` is no duration. */
  constructor({ after, message = "The task asked to be tried again", cause }: RetryRequest = {}) {
    super(message, cause === undefined ? {} : { cause });
    this.afterMs = after === undefined ? undefined : parseDuration(after);
  }
}

/**
 * Thrown by a task to give up at once: no further attempts, whatever its retry policy says.
 *
 * @example
 * if (order === undefined) throw new Reject(`No order ${id}`);
 */
export class Reject extends Error {
  override readonly name: string = "Reject";
  /**
   * @param reason what the caller is told.
   * @param options the error behind it, as `cause`.
   */
  constructor(reason: string, options: { readonly cause?: unknown } = {}) {
    super(reason, options);
  }
}

/** Why a running attempt is asked to end. */
export type InterruptionCause = "soft_limit" | "cancelled" | "stopping";

const INTERRUPTIONS: Readonly<Record<InterruptionCause, { name: string; message: string }>> = {
  soft_limit: {
    name: "SoftTimeLimitExceeded",
    message: "The task ran past its soft limit",
  },
  cancelled: { name: "Cancelled", message: "The task was cancelled" },
  stopping: { name: "Stopping", message: "The worker is stopping" },
};

/**
 * The reason of `context.signal` once it has aborted. What rejects because of the signal rejects with
 * this, so a task that lets it pass fails with "SoftTimeLimitExceeded", "Cancelled" or "Stopping".
 */
export class Interruption extends Error {
  override readonly name: string;
  readonly why: InterruptionCause;

  constructor(why: InterruptionCause) {
    super(INTERRUPTIONS[why].message);
    this.name = INTERRUPTIONS[why].name;
    this.why = why;
  }
}

/** A definition (a task's name or options, a set-up) that cannot be used; the message says why. */
export class DefinitionError extends Error {
  override readonly name = "DefinitionError";
}

/** A task returned, or set as a header, what cannot travel back to its caller. */
export class ResultError extends Error {
  override readonly name = "ResultError";
}
