/**
 * A user's periodic callbacks: the node's heartbeat says when, the pool runs them in an isolate. Each
 * runs once a node and period and never beside itself, for the heartbeat waits for its end.
 */
import type { Heartbeat } from "../heartbeat/ticker.ts";
import type { AttemptEnd, AttemptRequest } from "../isolates/attempt.ts";
import { memoryExceededText } from "../isolates/memory_text.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import { newId } from "../platform/ids.ts";
import type { AskHandlers } from "../tasks/asks.ts";
import type { PeriodicDescriptor } from "../tasks/periodic.ts";
import type { AttemptRunner } from "./executor.ts";

/** Celery's triple without arguments: what the attempt of a callback is called with. */
const NO_ARGUMENTS = "[[],{},{}]";

/** A callback did not end well; the heartbeat logs it. */
export class PeriodicError extends Error {
  override readonly name = "PeriodicError";
}

/** One for each node; whoever started the heartbeat stops it before the pool. */
export class PeriodicCallbacks {
  readonly #heartbeat: Heartbeat;
  /** Those of task files: tasks have no say in what else the heartbeat calls. */
  readonly #ids = new Set<string>();

  constructor(heartbeat: Heartbeat) {
    this.#heartbeat = heartbeat;
  }

  /** Has the heartbeat call them from now on, each by its own id. */
  register(runner: AttemptRunner, callbacks: readonly PeriodicDescriptor[]): void {
    for (const callback of callbacks) {
      this.#heartbeat.register(
        async () => check(callback, await runner.run(attemptOf(callback))),
        callback.intervalMs,
        callback.id,
      );
      this.#ids.add(callback.id);
    }
  }

  /** Has the heartbeat call none of them any more; what runs already runs on. */
  unregister(): void {
    for (const id of this.#ids) this.#heartbeat.unregister(id);
    this.#ids.clear();
  }

  /** What running tasks may ask of the heartbeat. */
  readonly asks: AskHandlers = {
    "heartbeat.count": () => Promise.resolve(this.#heartbeat.count),
    "heartbeat.alive": async () => {
      await this.#heartbeat.alive();
      return null;
    },
    "heartbeat.unregister": ({ id }) =>
      Promise.resolve(this.#ids.delete(id) && this.#heartbeat.unregister(id)),
  };
}

function attemptOf({ name, timeoutMs }: PeriodicDescriptor): AttemptRequest {
  return {
    id: newId(),
    task: name,
    body: NO_ARGUMENTS,
    attempt: 1,
    redelivered: false,
    timeoutMs,
    isolation: "worker",
    // What was killed for a neighbour's sake is due again soon.
    once: true,
    headers: {},
  };
}

/** @throws PeriodicError */
function check({ file, timeoutMs }: PeriodicDescriptor, end: AttemptEnd): void {
  const failed = (reason: string, stack?: string) => {
    const error = new PeriodicError(`The callback in ${file}: ${reason}`);
    // The place in the task file is of interest, not this one.
    return Object.assign(error, stack === undefined ? {} : { stack });
  };
  switch (end.kind) {
    case "returned":
    // The node stops.
    case "cancelled":
      return;
    case "threw":
      throw failed(`${end.error.type}: ${end.error.message}`, end.error.stack);
    case "timed_out":
      throw failed(`it ran past its limit of ${formatDuration(timeoutMs)} and was killed`);
    case "memory_exceeded":
      throw failed(`it ${memoryExceededText(end)}`);
    case "isolate_died":
      throw failed(end.reason);
    case "malformed":
      throw failed(end.reason);
    case "unknown_task":
      throw failed("the isolate does not know it: is it registered in every isolate?");
  }
}
