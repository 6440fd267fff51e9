/**
 * What a worker tells on Celery's `celeryev`: of itself (`worker-online`) and of its tasks
 * (`task-received`). Pure: facts become the JSON text of an event. Instants are float seconds, for a
 * Celery worker that reads one in milliseconds or as a text ends with an unrecoverable error.
 * https://docs.celeryq.dev/en/stable/userguide/monitoring.html#event-reference
 */
import type { Reply } from "../../calls/wire/reply_message.ts";
import type { ReceivedTask } from "../../calls/wire/task_message.ts";
import { wireInstant } from "../../calls/wire/names.ts";
import { pythonException, pythonRepr } from "../python_repr.ts";

/** What each event says besides what happened. */
export interface EventSource {
  /** The worker's name among Celery's. */
  readonly hostname: string;
  readonly pid: number;
  /** Hours east of UTC, by which who reads it shifts the instant. */
  readonly utcOffset: number;
}

export interface WorkerFigures {
  /** Attempts that run. */
  readonly active: number;
  /** Requests taken since the start. */
  readonly processed: number;
  /** Of 1, 5 and 15 minutes. */
  readonly loadAverage: readonly number[];
}

export type WorkerEventType = "worker-online" | "worker-heartbeat" | "worker-offline";

/** One event of a task, as far as it is not the same for all. */
export type TaskEvent =
  | {
    readonly type: "task-received";
    readonly task: ReceivedTask;
    readonly args: string;
    readonly kwargs: string;
  }
  | { readonly type: "task-started" }
  | { readonly type: "task-succeeded"; readonly result: string; readonly runtimeMs: number }
  | {
    readonly type: "task-failed" | "task-retried";
    readonly exception: string;
    readonly traceback: string | undefined;
  }
  | { readonly type: "task-revoked"; readonly terminated: boolean; readonly expired: boolean };

/** What stands where a task keeps its arguments or results to itself. */
export const REDACTED = "<redacted>";
/** Larger inputs and results are not parsed to be shown. */
const MAX_SHOWN_BYTES = 16 * 1024;
const MAX_TRACEBACK_CHARS = 8 * 1024;
/** The signal that Celery names where a task was stopped. */
const SIGTERM = 15;
const SOFTWARE = "coxswain";

/** @param clock the logical clock; `atMs`: epoch milliseconds; `freqMs`: from one heartbeat to the next. */
export function workerEventJson(
  type: WorkerEventType,
  source: EventSource,
  { active, processed, loadAverage }: WorkerFigures,
  { clock, atMs, freqMs, version }: {
    readonly clock: number;
    readonly atMs: number;
    readonly freqMs: number;
    readonly version: string;
  },
): string {
  return JSON.stringify({
    ...head(source, clock),
    freq: freqMs / 1_000,
    active,
    processed,
    loadavg: loadAverage.map((load) => Math.round(load * 100) / 100),
    sw_ident: SOFTWARE,
    sw_ver: version,
    sw_sys: SYSTEM[process.platform] ?? process.platform,
    timestamp: atMs / 1_000,
    type,
  });
}

export function taskEventJson(
  event: TaskEvent,
  uuid: string,
  source: EventSource,
  { clock, atMs }: { readonly clock: number; readonly atMs: number },
): string {
  return JSON.stringify({
    ...head(source, clock),
    uuid,
    ...fieldsOf(event),
    timestamp: atMs / 1_000,
    type: event.type,
  });
}

/** Python's names of systems. */
const SYSTEM: Readonly<Record<string, string>> = {
  linux: "Linux",
  darwin: "Darwin",
  win32: "Windows",
};

function head({ hostname, utcOffset, pid }: EventSource, clock: number) {
  return { hostname, utcoffset: utcOffset, pid, clock };
}

function fieldsOf(event: TaskEvent) {
  switch (event.type) {
    case "task-received": {
      const { task, args, kwargs } = event;
      return {
        name: task.task,
        args,
        kwargs,
        root_id: task.rootId ?? task.id,
        parent_id: task.parentId ?? null,
        retries: task.retries,
        eta: task.etaAt === undefined ? null : wireInstant(task.etaAt),
        expires: task.expiresAt === undefined ? null : wireInstant(task.expiresAt),
      };
    }
    case "task-started":
      return {};
    case "task-succeeded":
      return { result: event.result, runtime: event.runtimeMs / 1_000 };
    case "task-failed":
    case "task-retried":
      return {
        exception: event.exception,
        traceback: event.traceback?.slice(0, MAX_TRACEBACK_CHARS) ?? "",
      };
    case "task-revoked":
      return {
        terminated: event.terminated,
        signum: event.terminated ? SIGTERM : null,
        expired: event.expired,
      };
  }
}

/**
 * The event of a request that was answered.
 * @param ran how long its attempt ran; absent: it did not.
 */
export function answeredEvent(
  reply: Reply,
  { runtimeMs, isResultRedacted }: {
    readonly runtimeMs: number | undefined;
    readonly isResultRedacted: boolean;
  },
): TaskEvent {
  switch (reply.kind) {
    case "succeeded":
      return {
        type: "task-succeeded",
        result: isResultRedacted ? REDACTED : shownJson(reply.resultJson),
        runtimeMs: runtimeMs ?? 0,
      };
    case "failed":
      return failed(reply.error.type, reply.error.message, reply.error.stack);
    case "timed_out":
      return failed("TimeLimitExceeded", String(reply.limitMs / 1_000));
    case "worker_lost":
      return failed("WorkerLostError", reply.message);
    case "refused":
      return failed("ContentDisallowed", reply.message);
    case "expired":
      return { type: "task-revoked", terminated: false, expired: true };
    case "cancelled":
      return { type: "task-revoked", terminated: runtimeMs !== undefined, expired: false };
  }
}

/** The event of an attempt that failed and is tried again. */
export function retriedEvent(
  error: { readonly type: string; readonly message: string; readonly stack?: string } | undefined,
): TaskEvent {
  return {
    type: "task-retried",
    exception: error === undefined ? "Retry()" : pythonException(error.type, error.message),
    traceback: error?.stack,
  };
}

/** A JSON text as Python shows its value. */
export function shownJson(json: string): string {
  return json.length > MAX_SHOWN_BYTES
    ? `... (${json.length} characters)`
    : pythonRepr(parse(json));
}

/**
 * Arguments as Python shows them, from the wire body's triple, as text; undefined where it is large or
 * unreadable.
 */
export function shownInput(
  body: Uint8Array,
): { readonly args: string; readonly kwargs: string } | undefined {
  const input = inputOf(body);
  return input && { args: pythonRepr(input.args), kwargs: pythonRepr(input.kwargs) };
}

/** Arguments from the wire body's triple; undefined where it is large or unreadable. */
export function inputOf(
  body: Uint8Array,
): { readonly args: unknown; readonly kwargs: unknown } | undefined {
  if (body.length > MAX_SHOWN_BYTES) return undefined;
  const triple = parse(decoder.decode(body));
  return Array.isArray(triple) && triple.length === 3
    ? { args: triple[0], kwargs: triple[1] }
    : undefined;
}

const decoder = new TextDecoder();

/** Undefined for what is no JSON: somebody else tells its sender. */
function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function failed(type: string, message: string, stack?: string): TaskEvent {
  return { type: "task-failed", exception: pythonException(type, message), traceback: stack };
}
