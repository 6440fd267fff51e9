/**
 * `heartbeat`, as task files use it: callbacks that a node runs every so often, and its beat. The
 * callbacks run like attempts of tasks, in an isolate and with a hard limit; nobody can call them.
 */
import { formatDuration, MAX_DURATION_MS, parseDuration } from "../lifecycle/duration.ts";
import { definingFile } from "./defining_file.ts";
import { DefinitionError } from "./errors.ts";
import type { Duration } from "./options.ts";
import { registry } from "./registry.ts";
import { currentAttempt, type RunningAttempt } from "./running_attempt.ts";

/** What the main thread knows of a periodic callback. Plain data. */
export interface PeriodicDescriptor {
  /** For `heartbeat.unregister`, and in the log. The same in each isolate of the node. */
  readonly id: string;
  /** What its attempts are called by; never announced. */
  readonly name: string;
  readonly file: string;
  readonly intervalMs: number;
  /** Hard limit: the isolate is killed. */
  readonly timeoutMs: number;
}

/** Options of `heartbeat.register`. */
export interface PeriodicOptions {
  /** Hard limit: a run that takes longer is killed, whatever it does. Default "1m". */
  readonly timeout?: Duration;
}

export interface TaskHeartbeat {
  /**
   * Has the node run a callback every `interval`: once for each node, whatever its number of isolates,
   * in one of them, with `context` as in a task. Only at the top of a task file.
   *
   * It first runs one interval after the node's start, and waits for a free slot as a task does. Where
   * it still runs, or waits, when it is due again, that turn is left out. What it throws is logged
   * once, and it is called on.
   *
   * @param interval milliseconds or a duration such as "5s"; at least a second, one beat.
   * @returns its id.
   * @throws DefinitionError when an option cannot be used, or not at the top of a task file.
   *
   * @example
   * heartbeat.register(async () => {
   *   await context.pubsub.publish("queue.depth", await depth());
   * }, "5s");
   */
  register(
    callback: () => unknown,
    interval: Duration | number,
    options?: PeriodicOptions,
  ): string;
  /**
   * Inside a task: the node never runs this callback again; what runs already runs on. At the top of a
   * file: takes back what was registered there. Resolves with whether there was such a callback.
   */
  unregister(id: string): Promise<boolean>;
  /** Inside a task: how many beats its node has had since its start, one a second. */
  readonly count: Promise<number>;
  /**
   * Inside a task: has the node broadcast a beacon now. Rejects where the broker is away.
   */
  alive(): Promise<void>;
}

/** One beat of a node. */
const LEAST_INTERVAL_MS = 1_000;
const DEFAULT_TIMEOUT_MS = 60_000;

/** The node's heartbeat. See `TaskHeartbeat`. */
export const heartbeat: TaskHeartbeat = {
  register(callback, interval, options = {}) {
    const file = definingFile(heartbeat.register);
    const fail = (reason: string) =>
      new DefinitionError(`Cannot register a heartbeat callback in ${file}: ${reason}`);
    if (typeof callback !== "function") throw fail("its first argument must be a function");
    const intervalMs = durationOf("its interval", interval, fail);
    if (intervalMs < LEAST_INTERVAL_MS) {
      throw fail(`its interval must be at least 1s, one beat, got ${formatDuration(intervalMs)}`);
    }
    const timeoutMs = options.timeout === undefined
      ? DEFAULT_TIMEOUT_MS
      : durationOf("its timeout", options.timeout, fail);
    if (timeoutMs < 1) throw fail("its timeout must be at least 1ms");
    return registry.addPeriodic({ file, intervalMs, timeoutMs, run: callback });
  },

  async unregister(id) {
    if (currentAttempt() === undefined && registry.removePeriodic(id)) return true;
    const { services, facts } = running("unregister");
    return await services.ask("heartbeat.unregister", { id: String(id) }, "", facts);
  },

  get count() {
    const { services, facts } = running("count");
    return services.ask("heartbeat.count", null, "", facts);
  },

  async alive() {
    const { services, facts } = running("alive");
    await services.ask("heartbeat.alive", null, "", facts);
  },
};

function running(property: keyof TaskHeartbeat): RunningAttempt {
  const attempt = currentAttempt();
  if (attempt) return attempt;
  throw new Error(
    `Cannot use heartbeat.${property}: no task is running here. ` +
      `It is there inside a task's function and all that it calls or awaits.`,
  );
}

function durationOf(
  what: string,
  value: Duration | number,
  fail: (reason: string) => DefinitionError,
): number {
  if (typeof value === "number") {
    if (value >= 0 && value <= MAX_DURATION_MS) return Math.ceil(value);
    throw fail(`${what} must be milliseconds up to 24.8 days, got ${value}`);
  }
  try {
    return parseDuration(String(value));
  } catch (error) {
    throw fail(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
