/** What a record has room for: large results, messages and stacks are cut before they travel. */
import type { TaskError } from "../tasks/task_error.ts";
import type { JobEvent, JobOutcome } from "./job_event.ts";

/** Results over this size are not recorded, in bytes of JSON. */
export const MAX_RESULT_BYTES = 1024 * 1024;
const MAX_MESSAGE_CHARACTERS = 8 * 1024;
const MAX_STACK_CHARACTERS = 16 * 1024;
const MAX_PROGRESS_CHARACTERS = 1024;
const MAX_ISSUES = 20;

/**
 * The event as a record can hold it. A result that is too large is left out and its size told; long
 * texts are cut. Workers apply it before they publish, the store again before it writes.
 * @param maxResultBytes default 1 MiB.
 */
export function withinLimits(event: JobEvent, maxResultBytes = MAX_RESULT_BYTES): JobEvent {
  switch (event.kind) {
    case "outcome": {
      const outcome = limitOutcome(event.outcome, maxResultBytes);
      return outcome === event.outcome ? event : { ...event, outcome };
    }
    case "retrying": {
      const error = limitError(event.error);
      return error === event.error ? event : { ...event, error };
    }
    case "dead_lettered": {
      const reason = cut(event.reason, MAX_MESSAGE_CHARACTERS);
      const error = event.error && limitError(event.error);
      return { ...event, reason, ...(error === undefined ? {} : { error }) };
    }
    case "progress":
      return event.message === undefined
        ? event
        : { ...event, message: cut(event.message, MAX_PROGRESS_CHARACTERS) };
    case "accepted":
    case "scheduled":
    case "published":
    case "started":
    case "cancel_requested":
    case "retried":
      return event;
  }
}

function limitOutcome(outcome: JobOutcome, maxResultBytes: number): JobOutcome {
  switch (outcome.kind) {
    case "succeeded": {
      const { resultJson } = outcome;
      // A character is at least one byte and at most three: most results need no counting.
      if (resultJson === undefined || resultJson.length * 3 <= maxResultBytes) return outcome;
      const bytes = Buffer.byteLength(resultJson);
      return bytes <= maxResultBytes ? outcome : { kind: "succeeded", omittedBytes: bytes };
    }
    case "failed": {
      const error = limitError(outcome.error);
      return error === outcome.error ? outcome : { kind: "failed", error };
    }
    case "timed_out":
    case "expired":
    case "cancelled":
      return outcome;
  }
}

function limitError(error: TaskError): TaskError {
  const { type, message, stack, issues } = error;
  const isSmall = type.length <= MAX_MESSAGE_CHARACTERS &&
    message.length <= MAX_MESSAGE_CHARACTERS &&
    (stack?.length ?? 0) <= MAX_STACK_CHARACTERS && (issues?.length ?? 0) <= MAX_ISSUES;
  if (isSmall) return error;
  return {
    type: cut(type, MAX_MESSAGE_CHARACTERS),
    message: cut(message, MAX_MESSAGE_CHARACTERS),
    ...(stack === undefined ? {} : { stack: cut(stack, MAX_STACK_CHARACTERS) }),
    ...(issues === undefined ? {} : { issues: issues.slice(0, MAX_ISSUES) }),
  };
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}
