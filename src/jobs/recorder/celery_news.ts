/**
 * What Celery's workers tell of jobs, in our words: their answers on `cox.celery-replies`, and their
 * events on `celeryev` where they send any (`celery worker -E`). Pure, but for inflating bodies. What it
 * makes of a job is celery_story.ts.
 * https://docs.celeryq.dev/en/stable/userguide/monitoring.html#event-reference
 */
import type { Delivery } from "../../broker/message.ts";
import type { Ending } from "../../calls/outcome.ts";
import { type DecodedReply, decodeReply } from "../../calls/wire/reply_message.ts";
import { isNodeOfOurs } from "../../celery/node_name.ts";
import { createdAtOf } from "../../platform/ids.ts";
import type { TaskError } from "../../tasks/task_error.ts";
import type { JobOutcome } from "../job_event.ts";

export interface CeleryNews {
  /** The job's. */
  readonly id: string;
  /** Epoch milliseconds, whole. */
  readonly at: number;
  /** The answer of its worker; else an event, or what a worker says when it is asked. */
  readonly isAnswer: boolean;
  readonly fact: CeleryFact;
}

export type CeleryFact =
  /** A worker has the message of this attempt, from 1 on. */
  | { readonly kind: "received"; readonly attempt: number }
  | { readonly kind: "started"; readonly node: string }
  /** Its task tells how far it is. */
  | { readonly kind: "progress"; readonly fraction?: number; readonly message: string }
  /** The attempt failed, and Celery tries it again by itself. */
  | { readonly kind: "retrying"; readonly error: TaskError }
  | { readonly kind: "ended"; readonly outcome: JobOutcome };

/** A worker that tells no name. */
const UNKNOWN_NODE = "celery";
/** Larger answers are not inflated, so that their result is not known. */
const MAX_INFLATED_BYTES = 16 * 2 ** 20;

/** Undefined for what says nothing of a job. @param now epoch milliseconds. */
export async function readCeleryReply(
  delivery: Delivery,
  now: number,
): Promise<CeleryNews | undefined> {
  const id = delivery.message.properties.correlationId;
  if (id === undefined || createdAtOf(id) === undefined) return undefined;
  const fact = factOf(await decodeReply(delivery, MAX_INFLATED_BYTES));
  return fact && { id, at: Math.floor(now), isAnswer: true, fact };
}

function factOf(reply: DecodedReply): CeleryFact | undefined {
  switch (reply.kind) {
    case "started":
      return { kind: "started", node: reply.node ?? UNKNOWN_NODE };
    case "retrying":
      return reply;
    case "progress": {
      const { state, meta } = reply;
      const fraction = fractionOf(meta);
      return { kind: "progress", message: state, ...(fraction === undefined ? {} : { fraction }) };
    }
    case "ending": {
      const outcome = outcomeOf(reply.ending);
      return outcome && { kind: "ended", outcome };
    }
    case "other":
      return undefined;
  }
}

/** Of `update_state(meta={"current": 1, "total": 2})`, as Celery's guide has it. */
function fractionOf(meta: unknown): number | undefined {
  if (!isRecord(meta)) return undefined;
  const { current, total } = meta;
  if (typeof current !== "number" || typeof total !== "number" || !(total > 0)) return undefined;
  return Math.min(1, Math.max(0, current / total));
}

function outcomeOf(ending: Ending): JobOutcome | undefined {
  const failed = (type: string, message: string): JobOutcome => ({
    kind: "failed",
    error: { type, message },
  });
  switch (ending.kind) {
    case "succeeded":
      return { kind: "succeeded", resultJson: ending.resultJson };
    case "failed":
      return { kind: "failed", error: ending.error };
    case "timed_out":
    case "expired":
    case "cancelled":
      return ending;
    case "not_registered":
      return failed(NOT_REGISTERED, `The Celery worker that took it has no task "${ending.task}"`);
    case "worker_lost":
      return failed("WorkerLost", ending.message);
    case "refused":
      return failed("Refused", ending.message);
    case "unreadable_reply":
      return failed("UnreadableReply", ending.message);
    case "unknown_task":
    case "unknown_queue":
    case "outcome_unknown":
    case "broker_away":
    case "too_many_waiting":
      // What a front says by itself.
      return undefined;
  }
}

/** Trying it again would not help. */
export const NOT_REGISTERED = "NotRegistered";

/** News in a message on `celeryev`: of jobs that may be ours, by their ids, and not of our workers. */
export function readCeleryEvents({ message, unreadable }: Delivery): readonly CeleryNews[] {
  if (unreadable !== undefined) return [];
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(message.body));
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
  const events: readonly unknown[] = Array.isArray(json) ? json : [json];
  return events.flatMap((event) => isRecord(event) ? newsOf(event) : []);
}

function newsOf(event: Readonly<Record<string, unknown>>): readonly CeleryNews[] {
  const { uuid, timestamp, hostname } = event;
  if (typeof uuid !== "string" || createdAtOf(uuid) === undefined) return [];
  if (typeof timestamp !== "number" || typeof hostname !== "string") return [];
  const at = Math.floor(timestamp * 1_000);
  if (hostname === "" || isNodeOfOurs(hostname) || !Number.isSafeInteger(at) || at < 0) return [];
  const fact = factOfEvent(event, hostname);
  return fact === undefined ? [] : [{ id: uuid, at, isAnswer: false, fact }];
}

function factOfEvent(
  event: Readonly<Record<string, unknown>>,
  node: string,
): CeleryFact | undefined {
  switch (event.type) {
    case "task-received": {
      const { retries } = event;
      const attempt = typeof retries === "number" ? Math.floor(retries) + 1 : 1;
      return attempt >= 1 && attempt < 2 ** 31 ? { kind: "received", attempt } : undefined;
    }
    case "task-started":
      return { kind: "started", node };
    case "task-retried":
      return { kind: "retrying", error: errorOf(event) };
    case "task-succeeded":
      // Its result is Python's text of it, and cut: not what a client asked for.
      return { kind: "ended", outcome: { kind: "succeeded" } };
    case "task-failed":
      return { kind: "ended", outcome: { kind: "failed", error: errorOf(event) } };
    case "task-rejected": {
      const error = { type: "Rejected", message: "The task rejected its message" };
      return event.requeue === true
        ? undefined
        : { kind: "ended", outcome: { kind: "failed", error } };
    }
    case "task-revoked":
      return {
        kind: "ended",
        outcome: { kind: event.expired === true ? "expired" : "cancelled" },
      };
    default:
      return undefined;
  }
}

/** Of the exception as Python shows it: `ValueError('boom')`. */
function errorOf({ exception, traceback }: Readonly<Record<string, unknown>>): TaskError {
  const text = typeof exception === "string" ? exception : "";
  const [, type = "Error", message = text] = /^([\w.]+)\(['"]?([^]*?)['"]?,?\)$/.exec(text) ?? [];
  return { type, message, ...(typeof traceback === "string" ? { stack: traceback } : {}) };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
