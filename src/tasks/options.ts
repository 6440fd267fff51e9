/** What a task's author may say about it, and how that becomes a descriptor. */
import { formatDuration, parseDuration } from "../lifecycle/duration.ts";
import type { Isolation, RetryPolicy, TaskDescriptor } from "./descriptor.ts";
import { problemOfName } from "../reserved_names.ts";
import { DefinitionError } from "./errors.ts";

/** A length of time such as "500ms", "3s", "2m", "1h" or "7d". */
export type Duration = `${number}${"ms" | "s" | "m" | "h" | "d"}`;

/** How failed attempts are tried again. */
export interface RetryOptions {
  /** Attempts after the first, 0 to 1000. Default 3. */
  readonly limit?: number;
  /** Default "exponential": the pause doubles with each attempt. */
  readonly backoff?: "exponential" | "fixed";
  /** First pause. Default "1s". */
  readonly base?: Duration;
  /** Longest pause. Default "5m". */
  readonly cap?: Duration;
  /** Whether an attempt that ran past its hard limit is tried again too. Default false. */
  readonly onTimeout?: boolean;
}

/** Options of `task`; all have defaults. */
export interface TaskOptions {
  /** Queue that the task is taken from. Default "default". */
  readonly queue?: string;
  /** Hard limit: an attempt that runs longer is killed, whatever it does. Default "5m". */
  readonly timeout?: Duration;
  /** Soft limit: `context.signal` aborts. Shorter than `timeout`. Default: none. */
  readonly softTimeout?: Duration;
  /**
   * Where attempts run. "worker" (default): in a Web Worker, which ends at the hard limit unless native
   * code blocks it. "process": in a process, which is killed whatever it does, for tasks that block in
   * native code (synchronous file or process calls, native add-ons).
   */
  readonly isolation?: Isolation;
  /** Default: the program's own policy for jobs, none for calls. */
  readonly retry?: RetryOptions;
  /**
   * What nobody is shown who reads the records of its jobs: they are kept, for the job has to run, and
   * whoever may read the store itself sees them. Default: neither.
   */
  readonly redact?: { readonly input?: boolean; readonly result?: boolean };
}

/** Queue of tasks that name none. */
export const DEFAULT_TASK_QUEUE = "default";
/** Hard limit of tasks that name none. */
export const DEFAULT_TIMEOUT_MS = 5 * 60_000;

const MAX_RETRIES = 1_000;

/**
 * Checks a task's name and options.
 * @param file where it is defined, for the descriptor and for messages.
 * @throws DefinitionError naming the task, the option, its value and what was needed.
 */
export function describeTask(name: string, options: TaskOptions, file: string): TaskDescriptor {
  const fail = (reason: string) =>
    new DefinitionError(`Cannot define task ${JSON.stringify(name)} in ${file}: ${reason}`);
  const nameProblem = problemOfName(name);
  if (nameProblem !== undefined) throw fail(`its name ${nameProblem}`);
  const queue = options.queue ?? DEFAULT_TASK_QUEUE;
  const queueProblem = problemOfName(queue);
  if (queueProblem !== undefined) throw fail(`its queue's name ${queueProblem}`);
  const redact = redaction(options.redact, fail);
  return {
    name,
    file,
    queue,
    ...describeLimits(options, fail),
    ...(redact === undefined ? {} : { redact }),
  };
}

function redaction(
  redact: TaskOptions["redact"],
  fail: (reason: string) => DefinitionError,
): TaskDescriptor["redact"] {
  if (redact === undefined) return undefined;
  const { input = false, result = false } = redact;
  if (typeof input !== "boolean" || typeof result !== "boolean") {
    throw fail(`redact.input and redact.result must be true or false`);
  }
  return input || result ? { input, result } : undefined;
}

/** How attempts are limited and tried again: what tasks and consumers share. */
export type Limits = Pick<
  TaskDescriptor,
  "timeoutMs" | "softTimeoutMs" | "isolation" | "retry"
>;

/** @param fail makes the error that names what is being defined. */
export function describeLimits(
  options: Pick<TaskOptions, "timeout" | "softTimeout" | "isolation" | "retry">,
  fail: (reason: string) => DefinitionError,
): Limits {
  const durationMs = (option: string, text: Duration): number => {
    try {
      return parseDuration(String(text));
    } catch (error) {
      throw fail(`${option}: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  const timeoutMs = options.timeout === undefined
    ? DEFAULT_TIMEOUT_MS
    : durationMs("timeout", options.timeout);
  if (timeoutMs < 1) throw fail("timeout must be at least 1ms");

  const isolation = options.isolation ?? "worker";
  if (isolation !== "worker" && isolation !== "process") {
    throw fail(`isolation must be "worker" or "process", got ${JSON.stringify(isolation)}`);
  }

  let softTimeoutMs: number | undefined;
  if (options.softTimeout !== undefined) {
    softTimeoutMs = durationMs("softTimeout", options.softTimeout);
    if (softTimeoutMs >= timeoutMs) {
      throw fail(
        `softTimeout must be shorter than timeout (${formatDuration(timeoutMs)}), ` +
          `got ${formatDuration(softTimeoutMs)}`,
      );
    }
  }
  const retry = options.retry === undefined
    ? undefined
    : retryPolicy(options.retry, durationMs, fail);
  return {
    timeoutMs,
    ...(softTimeoutMs === undefined ? {} : { softTimeoutMs }),
    isolation,
    ...(retry === undefined ? {} : { retry }),
  };
}

function retryPolicy(
  { limit = 3, backoff = "exponential", base = "1s", cap = "5m", onTimeout }: RetryOptions,
  durationMs: (option: string, text: Duration) => number,
  fail: (reason: string) => DefinitionError,
): RetryPolicy {
  if (!Number.isInteger(limit) || limit < 0 || limit > MAX_RETRIES) {
    throw fail(`retry.limit must be a whole number from 0 to ${MAX_RETRIES}, got ${String(limit)}`);
  }
  if (backoff !== "exponential" && backoff !== "fixed") {
    throw fail(`retry.backoff must be "exponential" or "fixed", got ${JSON.stringify(backoff)}`);
  }
  const baseMs = durationMs("retry.base", base);
  const capMs = Math.max(baseMs, durationMs("retry.cap", cap));
  if (onTimeout !== undefined && typeof onTimeout !== "boolean") {
    throw fail(`retry.onTimeout must be true or false, got ${JSON.stringify(onTimeout)}`);
  }
  return { limit, backoff, baseMs, capMs, ...(onTimeout ? { onTimeout } : {}) };
}
