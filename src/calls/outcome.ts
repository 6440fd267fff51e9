/**
 * How a call ended, as its caller sees it: one union, mapped to HTTP statuses and exit codes by one
 * table each. Expected endings are values here, not exceptions.
 */
import type { TaskError } from "../tasks/task_error.ts";

/** Header names are lower case. */
export type ResultHeaders = Readonly<Record<string, string>>;

/** How an attempt that a worker took ended, the same for calls and jobs. */
export type Outcome =
  /** `resultJson`: the result as JSON text. */
  | { readonly kind: "succeeded"; readonly resultJson: string; readonly headers: ResultHeaders }
  /** The task threw, or its input was refused by its schema (`error.type` "InvalidInput"). */
  | { readonly kind: "failed"; readonly error: TaskError; readonly headers: ResultHeaders }
  /** It ran past its hard limit and was stopped. */
  | { readonly kind: "timed_out"; readonly limitMs: number }
  /** Nobody took it in time. It never ran. */
  | { readonly kind: "expired" }
  | { readonly kind: "cancelled" };

/** All that a caller can be told. */
export type Ending =
  | Outcome
  /** No live worker announces the task and none is remembered. It was not published. */
  | { readonly kind: "unknown_task"; readonly task: string }
  /** It was sent to a worker of somebody else's, such as Celery's, which has no such task. */
  | { readonly kind: "not_registered"; readonly task: string }
  /** It names a queue, or a route does, that is not there. It was not taken. */
  | { readonly kind: "unknown_queue"; readonly queue: string }
  /** The workers that took it died, and it must not or may no longer be tried again. */
  | { readonly kind: "worker_lost"; readonly message: string }
  /** The broker connection dropped while it waited: it may have run. */
  | { readonly kind: "outcome_unknown"; readonly message: string }
  /** A reply came that is not a result. */
  | { readonly kind: "unreadable_reply"; readonly message: string }
  /** The broker is away or takes no publishes. It was not published. */
  | { readonly kind: "broker_away"; readonly message: string }
  /** This front waits for as many calls as it may. It was not published. */
  | { readonly kind: "too_many_waiting"; readonly limit: number }
  /** It cannot be written to the wire; says what to change. */
  | { readonly kind: "refused"; readonly message: string };
