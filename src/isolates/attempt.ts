/**
 * One attempt, as the worker hands it to the pool and as it ends. How it travels to the isolate is
 * protocol.ts; what the ending means for the message is src/worker/settlement.ts.
 */
import type { Isolation } from "../tasks/descriptor.ts";
import type { Progress } from "../tasks/progress.ts";
import type { TaskError } from "../tasks/task_error.ts";

export interface AttemptRequest {
  /** The id of the call or job. */
  readonly id: string;
  readonly task: string;
  /** The wire body as JSON text: Celery's triple `[args, kwargs, embed]`. Parsed in the isolate. */
  readonly body: string;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** The broker has handed the message out before. */
  readonly redelivered: boolean;
  /** Hard limit, counted from the moment that the attempt starts to run. */
  readonly timeoutMs: number;
  readonly softTimeoutMs?: number;
  readonly isolation: Isolation;
  /** Runs alone, in a process made for it: for redelivered messages. Default false. */
  readonly alone?: boolean;
  /**
   * Must not run a second time: where its isolate was killed for a neighbour's sake, it ends as
   * `isolate_died` instead of running again. Default false.
   */
  readonly once?: boolean;
  /** Headers that came with the message, for `context`. */
  readonly headers: Readonly<Record<string, string>>;
}

/** How an attempt ended. */
export type AttemptEnd =
  /** `resultJson`: the returned value as JSON text. `headers`: what the task set on `context.headers`. */
  | {
    readonly kind: "returned";
    readonly resultJson: string;
    readonly headers: Readonly<Record<string, string>>;
  }
  /**
   * The task threw. `retry`: it threw `Retry` (with the pause it asked for); `rejected`: it threw
   * `Reject`, or its input was invalid: trying again is no use.
   */
  | {
    readonly kind: "threw";
    readonly error: TaskError;
    readonly headers: Readonly<Record<string, string>>;
    readonly retry?: { readonly afterMs?: number };
    readonly rejected?: true;
  }
  /** The body is not JSON, or not Celery's triple. */
  | { readonly kind: "malformed"; readonly reason: string }
  /** The pool has no task of that name. */
  | { readonly kind: "unknown_task" }
  /** It ran past its hard limit and its isolate was killed. */
  | { readonly kind: "timed_out"; readonly limitMs: number }
  /**
   * Its isolate held most of a process that passed the memory limit, and was killed. `usedBytes`: what
   * the process held; `heldBytes`: what of that the isolate did, estimated. In an isolate of the kind
   * "process" the two are the same.
   */
  | {
    readonly kind: "memory_exceeded";
    readonly limitBytes: number;
    readonly usedBytes: number;
    readonly heldBytes: number;
    readonly isolate: number;
  }
  /**
   * The signal given to `run` aborted, or the pool stopped; `started` tells whether user code had
   * begun. A task that returns in its grace time has `returned` all the same.
   */
  | { readonly kind: "cancelled"; readonly started: boolean }
  /**
   * The isolate ended by itself (exit, crash, out of memory), or did not get ready. `started` tells
   * whether the task's code had begun: where it had not, this attempt is to blame for nothing.
   */
  | { readonly kind: "isolate_died"; readonly reason: string; readonly started: boolean };

export interface RunOptions {
  /** Aborting cancels: `context.signal` aborts, and after `cancelGraceMs` the isolate is killed. */
  readonly signal?: AbortSignal;
  /** Called once, when the attempt is handed to an isolate with a free slot. */
  readonly onStart?: () => void;
  /** Called with what the task tells of its progress, at most four times a second. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface PoolStats {
  /** Isolates that take attempts now, of both kinds; not the warm spares. */
  readonly isolates: number;
  /** Attempts that hold a slot: they are in an isolate, or one is being made for them. */
  readonly running: number;
  /** Attempts that wait for a free slot. */
  readonly waiting: number;
  /** Isolates killed over a second ago whose thread has not ended (native code that blocks). */
  readonly stuck: number;
  /** How many were ever killed: at a limit, or after a cancel. */
  readonly killed: number;
  /** How many ever ended by themselves. */
  readonly died: number;
  /** How many were ever replaced after their share of attempts. */
  readonly recycled: number;
}
