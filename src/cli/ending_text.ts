/** How a call's ending is told to an operator, and to a program that reads --json. */
import { parseExactly } from "../calls/exact_json.ts";
import type { Ending } from "../calls/outcome.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import type { TaskError } from "../tasks/task_error.ts";

/** One or a few lines for stderr, without their last line end. Not for `succeeded`. */
export function describeEnding(task: string, ending: Ending): string {
  switch (ending.kind) {
    case "succeeded":
      return `Task "${task}" succeeded.`;
    case "failed":
      return [`Task "${task}" failed: ${describeError(ending.error)}`, ...details(ending.error)]
        .join("\n");
    case "timed_out":
      return `Task "${task}" ran past its limit${limit(ending.limitMs)} and was stopped.`;
    case "expired":
      return `No worker took task "${task}" before it expired. It did not run.`;
    case "cancelled":
      return `The call of task "${task}" was cancelled.`;
    case "unknown_task":
      return `No worker serves a task "${task}", nor did one before. "tasks" lists what there is.`;
    case "not_registered":
      return `The Celery worker that took it has no task "${task}". It did not run.`;
    case "unknown_queue":
      return `There is no queue "${ending.queue}" to send task "${task}" to: its workers declare it.`;
    case "worker_lost":
      return `The worker that ran task "${task}" was lost: ${ending.message}`;
    case "outcome_unknown":
      return `How task "${task}" ended is not known; it may have run: ${ending.message}`;
    case "unreadable_reply":
      return `The answer of task "${task}" could not be read: ${ending.message}`;
    case "broker_away":
      return `The broker is away: ${ending.message} Task "${task}" did not run.`;
    case "too_many_waiting":
      return `Too many calls wait already (${ending.limit}). Task "${task}" did not run.`;
    case "refused":
      return `The call of task "${task}" was refused: ${ending.message}`;
  }
}

/** One line of JSON for a program: what did not succeed, and why. */
export function endingJson(task: string, ending: Exclude<Ending, { kind: "succeeded" }>): string {
  const { kind, ...rest } = ending;
  return JSON.stringify({ ending: kind, task, message: describeEnding(task, ending), ...rest });
}

/**
 * JSON text with indentation. Numbers stay as they are written: reading and writing them again would
 * change the large ones.
 */
export function indentJson(json: string): string {
  return JSON.stringify(parseExactly(json), undefined, 2);
}

function describeError({ type, message }: TaskError): string {
  return message === "" ? type : `${type}: ${message}`;
}

function details({ issues, stack }: TaskError): readonly string[] {
  const found = (issues ?? []).map(({ path, message }) =>
    path.length === 0 ? `  - ${message}` : `  - ${path.join(".")}: ${message}`
  );
  return stack === undefined ? found : [...found, stack];
}

function limit(limitMs: number): string {
  return Number.isFinite(limitMs) && limitMs > 0 ? ` of ${formatDuration(limitMs)}` : "";
}
