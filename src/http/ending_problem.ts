/** Which problem an ending is: a new ending fails to compile here until somebody has decided. */
import type { Ending } from "../calls/outcome.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import type { TaskError } from "../tasks/task_error.ts";
import { type Problem, shortened } from "./problems.ts";
import { resultHeaders } from "./task_headers.ts";

/** An ending without a result. */
export type Failure = Exclude<Ending, { readonly kind: "succeeded" }>;

/** @param exposeErrors whether the stack of a failed task is told. */
export function endingProblem(task: string, ending: Failure, exposeErrors: boolean): Problem {
  const name = `"${shortened(task)}"`;
  const members = { task };
  switch (ending.kind) {
    case "failed":
      return {
        ...failure(name, ending.error, exposeErrors, members),
        headers: resultHeaders(ending.headers),
      };
    case "timed_out":
      return {
        name: "timed-out",
        detail: `Task ${name} ran past its limit${limit(ending.limitMs)} and was stopped`,
        // A Celery worker does not tell its soft limit.
        members: ending.limitMs > 0 ? { ...members, limitMs: ending.limitMs } : members,
      };
    case "expired":
      return {
        name: "expired",
        detail: `No worker took task ${name} in time. It did not run`,
        members,
      };
    case "cancelled":
      return { name: "cancelled", detail: `The call of task ${name} was cancelled`, members };
    case "unknown_task":
      return {
        name: "unknown-task",
        detail: `No worker serves a task ${name}, nor did one since this front started`,
        members,
      };
    case "not_registered":
      return {
        name: "unknown-task",
        detail: `The Celery worker that took the call has no task ${name}. It did not run`,
        members,
      };
    case "unknown_queue":
      return unknownQueue(task, ending.queue);
    case "worker_lost":
      return { name: "worker-lost", detail: ending.message, members };
    case "outcome_unknown":
      return { name: "outcome-unknown", detail: ending.message, members };
    case "unreadable_reply":
      return { name: "unreadable-reply", detail: ending.message, members };
    case "broker_away":
      return { name: "broker-away", detail: ending.message, members };
    case "too_many_waiting":
      return {
        name: "too-many-waiting",
        detail: `${ending.limit} calls are waiting already. Task ${name} did not run`,
        members: { ...members, limit: ending.limit },
      };
    case "refused":
      return { name: "refused", detail: ending.message, members };
  }
}

function failure(
  name: string,
  { type, message, stack, issues }: TaskError,
  exposeErrors: boolean,
  members: Problem["members"],
): Problem {
  const error = { type, message, ...(exposeErrors && stack !== undefined ? { stack } : {}) };
  if (type === "InvalidInput") {
    return {
      name: "invalid-input",
      detail: message === "" ? `Task ${name} refused its input` : message,
      members: { ...members, error, issues: issues ?? [] },
    };
  }
  return {
    name: "task-failed",
    detail: `Task ${name} failed: ${message === "" ? type : `${type}: ${message}`}`,
    members: { ...members, error, ...(issues === undefined ? {} : { issues }) },
  };
}

/** The limit comes from a worker's reply: it may be anything. */
function limit(limitMs: number): string {
  return Number.isFinite(limitMs) && limitMs > 0 ? ` of ${formatDuration(limitMs)}` : "";
}

/** A queue that a request or a route names, and that nobody has declared. */
export function unknownQueue(task: string, queue: string): Problem {
  return {
    name: "unknown-queue",
    detail: `There is no queue "${shortened(queue)}" to send task "${shortened(task)}" to: ` +
      "its workers declare it",
    members: { task, queue },
  };
}
