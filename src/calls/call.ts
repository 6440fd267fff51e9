/** One request to run a task, between HTTP or the command line and the wire. */
import type { Ending } from "./outcome.ts";

/** What the task is called with: Celery's positional and keyword arguments, as JSON text. */
export interface CallInput {
  /** JSON text of an array. */
  readonly argsJson: string;
  /** JSON text of an object. */
  readonly kwargsJson: string;
}

export interface Call {
  /** UUIDv7. */
  readonly id: string;
  readonly task: string;
  readonly input: CallInput;
  /** Queue to publish to; absent: where the task is announced. */
  readonly queue?: string;
  /** Headers for the task's `context`. */
  readonly headers: Readonly<Record<string, string>>;
  /** 0 to 10; absent is 0. */
  readonly priority?: number;
  /** Survives a restart of the broker while it waits. Default false for calls. */
  readonly persistent?: boolean;
  /** How long it may wait for a worker, in milliseconds. */
  readonly expiresMs: number;
  /** Asked hard limit; the task's own limit caps it. */
  readonly timeoutMs?: number;
  /** Must not run a second time: answered `worker-lost` where it comes back redelivered. */
  readonly once?: boolean;
}

/** Options of a call that its caller may leave out. Durations in milliseconds. */
export interface CallOptions {
  readonly queue?: string;
  /** Headers for the task's `context`, lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
  /** 0 to 10, default 0. */
  readonly priority?: number;
  /** Default false. */
  readonly persistent?: boolean;
  /** Default: the front's call expiry (30 s). */
  readonly expiresMs?: number;
  /** Default: the task's own limit, which also caps it. */
  readonly timeoutMs?: number;
  /** Default false. */
  readonly once?: boolean;
}

/** Who calls tasks: HTTP routes and the command line know it by this alone. */
export interface Caller {
  /**
   * Calls a task and waits for its ending, which always comes, within expiry + limit + a margin.
   * @param signal aborting cancels: a waiting call never runs, a running attempt is stopped; the
   *   ending is then `cancelled`.
   */
  call(
    task: string,
    input: CallInput,
    options?: CallOptions,
    signal?: AbortSignal,
  ): Promise<Ending>;
  /** Calls that wait for their ending now. */
  readonly pending: number;
}
