/**
 * What the program knows of a task without running user code: an isolate reports these when it is
 * ready, workers announce them, fronts route by them.
 */

/** Where an attempt runs: in a Web Worker, or in a process that dies whatever the code does. */
export type Isolation = "worker" | "process";

/** How failed attempts are tried again (jobs; calls only where `calls` says so). */
export interface RetryPolicy {
  /** Attempts after the first; 0 is none. */
  readonly limit: number;
  readonly backoff: "exponential" | "fixed";
  readonly baseMs: number;
  readonly capMs: number;
  /** Whether an attempt that ran past its hard limit is tried again. Default: not. */
  readonly onTimeout?: boolean;
}

/** Plain data: it crosses threads, processes and the broker as JSON. */
export interface TaskDescriptor {
  readonly name: string;
  /** The file that defines it, or "built in". */
  readonly file: string;
  readonly queue: string;
  /** Hard limit: the attempt is killed. */
  readonly timeoutMs: number;
  /** Soft limit: `context.signal` aborts. */
  readonly softTimeoutMs?: number;
  readonly isolation: Isolation;
  readonly retry?: RetryPolicy;
  /** Parameters that its function is written with; only its own worker knows them. */
  readonly parameters?: number;
  /** What is not to be shown to those who read a job's record. */
  readonly redact?: { readonly input: boolean; readonly result: boolean };
}
