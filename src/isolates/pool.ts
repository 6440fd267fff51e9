/**
 * A node's isolates: attempts go in, endings come out, and whatever an attempt does, its ending comes
 * on time and the slot is whole again. The main thread runs no user code.
 */
import type { Definitions } from "../tasks/definitions.ts";
import type { AttemptEnd, AttemptRequest, PoolStats, RunOptions } from "./attempt.ts";
import { IsolatePool } from "./isolate_pool.ts";
import { checkOptions, type PoolOptions } from "./pool_options.ts";

export { type PoolOptions, PoolStartError, type TaskLogLine } from "./pool_options.ts";

export interface Pool {
  /**
   * Starts the isolates; resolves with what the task files define when the first is ready.
   * @throws PoolStartError when it cannot get ready: a task file that does not load, two tasks of one
   *   name, a set-up that fails.
   */
  start(): Promise<Definitions>;
  /** Runs an attempt when a slot is free, first come first served. Always resolves. */
  run(request: AttemptRequest, options?: RunOptions): Promise<AttemptEnd>;
  /**
   * From now on so many isolates serve, at least 1: more are started, or the least busy end once they
   * have finished what they run.
   */
  resize(isolates: number): void;
  /** How many more attempts would start at once. */
  readonly freeSlots: number;
  readonly stats: PoolStats;
  /**
   * Gives back what waits (`cancelled`, not started), finishes what runs until `abort`, then cancels it;
   * then tears the isolates down. May be called again, with an `abort` of its own.
   */
  stop(abort?: AbortSignal): Promise<void>;
}

/**
 * Makes a pool; nothing is started yet.
 * @throws RangeError when a number cannot be used.
 */
export function createPool(options: PoolOptions): Pool {
  checkOptions(options);
  return new IsolatePool(options);
}
