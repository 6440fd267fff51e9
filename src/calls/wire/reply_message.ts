/**
 * A reply on the wire: Celery's rpc result `{task_id, status, result, traceback, children}`, sent to
 * the queue that the request named. https://docs.celeryq.dev/en/stable/internals/protocol.html
 */
import type { Delivery, HeaderValue, Message } from "../../broker/message.ts";
import type { Progress } from "../../tasks/progress.ts";
import type { TaskError } from "../../tasks/task_error.ts";
import type { Ending, Outcome, ResultHeaders } from "../outcome.ts";
import { pythonException } from "./celery_exceptions.ts";
import { compress, decompress } from "./compression.ts";
import { COMPRESS_OVER_BYTES, COX, JSON_TYPE, ZLIB } from "./names.ts";

/** What a worker answers. */
export type Reply = Outcome | Extract<Ending, { kind: "worker_lost" | "refused" }>;

/** Where and as what a reply goes. */
export interface ReplyAddress {
  readonly id: string;
  readonly replyTo: string;
  readonly correlationId: string;
  /** The asker reads compressed replies. */
  readonly mayCompress: boolean;
  readonly node: string;
  /** Where a Celery client asked: for which task. It is told of errors in Python's names. */
  readonly celeryTask?: string;
  /** Where something follows from the task: Celery's `children`, as JSON values. */
  readonly children?: readonly unknown[];
}

/** What a caller reads: an ending, news of it, or something that means nothing to it. */
export type DecodedReply =
  | { readonly kind: "ending"; readonly ending: Ending }
  /** `node`: where, as far as its worker tells it. */
  | { readonly kind: "started"; readonly node?: string }
  /** A Celery worker tries it again, by itself. */
  | { readonly kind: "retrying"; readonly error: TaskError }
  /** It runs, and its task tells what it does, in a state of its own making. */
  | { readonly kind: "progress"; readonly state: string; readonly meta: unknown }
  | { readonly kind: "other" };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
const NO_HEADERS: ResultHeaders = Object.freeze({});

/** Writes a reply. A large one is compressed, which alone makes this asynchronous. */
export function encodeReply(address: ReplyAddress, reply: Reply): Message | Promise<Message> {
  const { status, resultJson, traceback, headers } = celeryResult(reply, address.celeryTask);
  const body = encoder.encode(
    resultBody(address.id, status, resultJson, traceback, address.children),
  );
  if (body.length <= COMPRESS_OVER_BYTES || !address.mayCompress) {
    return replyMessage(address, body, headers);
  }
  return compress(body).then((compressed) =>
    replyMessage(address, compressed, { ...headers, compression: ZLIB })
  );
}

/** Writes the notice that an attempt runs, which Celery clients pass over. */
export function encodeStarted(address: ReplyAddress): Message {
  const result = JSON.stringify({ hostname: address.node });
  return replyMessage(
    address,
    encoder.encode(resultBody(address.id, "STARTED", result)),
    undefined,
  );
}

/** Writes that a task failed and will be tried again, as Celery's workers tell it. */
export function encodeRetrying(
  address: ReplyAddress,
  { type, message, stack }: TaskError,
): Message {
  const result = exception({ type, args: [message], module: pythonException(type).exc_module });
  const traceback = JSON.stringify(stack ?? null);
  return replyMessage(
    address,
    encoder.encode(resultBody(address.id, "RETRY", result, traceback)),
    undefined,
  );
}

/** Writes how far an attempt is: the state that Celery's users by custom give to `update_state`. */
export function encodeProgress(address: ReplyAddress, progress: Progress): Message {
  const { fraction, message } = progress;
  const result = JSON.stringify({ fraction, message: message ?? null });
  return replyMessage(
    address,
    encoder.encode(resultBody(address.id, "PROGRESS", result)),
    undefined,
  );
}

/** How a failure looks in a reply, for those who are told of it in another way. */
export function failureOf(
  reply: Reply,
  celeryTask?: string,
): { readonly exceptionJson: string; readonly traceback: string | undefined } {
  const { resultJson } = celeryResult(reply, celeryTask);
  const traceback = reply.kind === "failed" ? reply.error.stack : undefined;
  return { exceptionJson: resultJson, traceback };
}

/** The order and spacing are ours; Celery reads any. */
function resultBody(
  id: string,
  status: string,
  resultJson: string,
  traceback = "null",
  children: readonly unknown[] = [],
): string {
  return `{"task_id":${
    JSON.stringify(id)
  },"status":"${status}","result":${resultJson},"traceback":${traceback},"children":${
    children.length === 0 ? "[]" : JSON.stringify(children)
  }}`;
}

function replyMessage(
  address: ReplyAddress,
  body: Uint8Array,
  headers: Record<string, HeaderValue> | undefined,
): Message {
  return {
    exchange: "",
    routingKey: address.replyTo,
    body,
    properties: {
      contentType: JSON_TYPE,
      contentEncoding: "utf-8",
      correlationId: address.correlationId,
      ...(headers === undefined ? {} : { headers }),
    },
  };
}

interface CeleryResult {
  readonly status: "SUCCESS" | "FAILURE" | "REVOKED";
  readonly resultJson: string;
  /** JSON text. */
  readonly traceback?: string;
  readonly headers: Record<string, HeaderValue> | undefined;
}

/**
 * Celery knows fewer endings than we do: the nearest of its own, and ours in a header.
 * @param celeryTask the task that a Celery client asked for.
 */
function celeryResult(reply: Reply, celeryTask?: string): CeleryResult {
  switch (reply.kind) {
    case "succeeded":
      return {
        status: "SUCCESS",
        resultJson: reply.resultJson,
        headers: isEmpty(reply.headers) ? undefined : { [COX.headers]: { ...reply.headers } },
      };
    case "failed":
      return {
        status: "FAILURE",
        resultJson: failureResult(reply.error, celeryTask),
        ...(reply.error.stack === undefined
          ? {}
          : { traceback: JSON.stringify(reply.error.stack) }),
        headers: {
          [COX.outcome]: reply.kind,
          ...(isEmpty(reply.headers) ? {} : { [COX.headers]: { ...reply.headers } }),
        },
      };
    case "timed_out":
      return {
        status: "FAILURE",
        resultJson: exception({
          type: "TimeLimitExceeded",
          args: [reply.limitMs / 1000],
          module: "billiard.exceptions",
        }),
        headers: { [COX.outcome]: reply.kind, [COX.limitMs]: Math.round(reply.limitMs) },
      };
    case "expired":
    case "cancelled":
      return {
        status: "REVOKED",
        resultJson: exception({
          type: "TaskRevokedError",
          args: [reply.kind === "expired" ? "expired" : "terminated"],
          module: "celery.exceptions",
        }),
        headers: { [COX.outcome]: reply.kind },
      };
    case "worker_lost":
      return {
        status: "FAILURE",
        resultJson: exception({
          type: "WorkerLostError",
          args: [reply.message],
          module: "billiard.exceptions",
        }),
        headers: { [COX.outcome]: reply.kind },
      };
    case "refused":
      return {
        status: "FAILURE",
        resultJson: exception({
          type: "ContentDisallowed",
          args: [reply.message],
          module: "kombu.exceptions",
        }),
        headers: { [COX.outcome]: reply.kind },
      };
  }
}

function failureResult({ type, message, issues }: TaskError, celeryTask?: string): string {
  const further = issues === undefined ? {} : { cox_issues: issues };
  const { exc_type, exc_module } = pythonException(type);
  if (celeryTask === undefined) {
    return exception({ type, args: [message], module: exc_module, further });
  }
  // It makes its message of the name alone.
  const args = [exc_type === "NotRegistered" ? celeryTask : message];
  return exception({ type: exc_type, args, module: exc_module, further });
}

function exception(
  { type, args, module, further = {} }: {
    readonly type: string;
    readonly args: readonly (string | number)[];
    readonly module: string;
    readonly further?: Readonly<Record<string, unknown>>;
  },
): string {
  return JSON.stringify({ exc_type: type, exc_message: args, exc_module: module, ...further });
}

function isEmpty(headers: ResultHeaders): boolean {
  for (const _ in headers) return false;
  return true;
}

/**
 * Reads a reply from a worker of ours or a Celery worker. Asynchronous only where it is compressed.
 * @param limitBytes most bytes that an inflated reply may have.
 */
export function decodeReply(
  delivery: Delivery,
  limitBytes: number,
): DecodedReply | Promise<DecodedReply> {
  const { properties, body } = delivery.message;
  if (delivery.unreadable !== undefined) return unreadable(delivery.unreadable);
  const compression = properties.headers?.compression;
  if (compression === undefined || compression === null) return readReply(delivery, body);
  if (compression !== ZLIB) {
    return unreadable(
      `its compression is ${typeof compression === "string" ? compression : "not a text"}`,
    );
  }
  return decompress(body, limitBytes).then(
    (inflated) => readReply(delivery, inflated),
    (error: unknown) => unreadable(error instanceof Error ? error.message : String(error)),
  );
}

function readReply(delivery: Delivery, body: Uint8Array): DecodedReply {
  const { contentType = JSON_TYPE } = delivery.message.properties;
  if (!contentType.startsWith(JSON_TYPE)) {
    return unreadable(`its content type is ${contentType} (Celery: result_serializer = "json")`);
  }
  let reply: unknown;
  try {
    reply = parseReply(decoder.decode(body));
  } catch (error) {
    return unreadable(`its body is not JSON (${error instanceof Error ? error.message : error})`);
  }
  if (!isRecord(reply) || typeof reply.status !== "string") {
    return unreadable("its body is not a Celery result with a status");
  }
  try {
    return replyOf(reply, reply.status, delivery.message.properties.headers ?? {});
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    // The runtime reads JSON of any depth, and writes what its stack holds.
    return unreadable("its result is nested too deeply");
  }
}

/** @throws RangeError when it is nested more deeply than can be written. */
function replyOf(
  reply: Record<string, unknown>,
  status: string,
  headers: Readonly<Record<string, HeaderValue>>,
): DecodedReply {
  switch (status) {
    case "SUCCESS":
      return ending({
        kind: "succeeded",
        resultJson: JSON.stringify(reply.result ?? null),
        headers: resultHeaders(headers[COX.headers]),
      });
    case "FAILURE":
    case "REVOKED":
      return ending(failure(reply, headers));
    case "STARTED": {
      const node = isRecord(reply.result) ? reply.result.hostname : undefined;
      return { kind: "started", ...(typeof node === "string" && node !== "" ? { node } : {}) };
    }
    case "RETRY":
      return { kind: "retrying", error: taskError(reply) };
    case "IGNORED":
    case "REJECTED": {
      const type = status === "IGNORED" ? "Ignored" : "Rejected";
      const message = "The task ended so that no result will come";
      return ending({ kind: "failed", error: { type, message }, headers: NO_HEADERS });
    }
    case "PENDING":
    case "RECEIVED":
      return { kind: "other" };
    default:
      return { kind: "progress", state: status, meta: reply.result };
  }
}

/**
 * Celery 5.3 and later wrap what JSON has no words for, such as instants: here it is the text that
 * Celery 5.2 writes.
 * @throws SyntaxError
 */
function parseReply(text: string): unknown {
  if (!text.includes('"__type__"')) return JSON.parse(text);
  return JSON.parse(
    text,
    (_name, value: unknown) =>
      isRecord(value) && KOMBU_TYPES.has(value.__type__) && Object.keys(value).length === 2
        ? value.__value__
        : value,
  );
}

/** What kombu's JSON wraps so; others' are left as they are, for they may be the task's own. */
const KOMBU_TYPES: ReadonlySet<unknown> = new Set(["datetime", "date", "time", "decimal", "uuid"]);

function failure(
  reply: Record<string, unknown>,
  headers: Readonly<Record<string, HeaderValue>>,
): Ending {
  const error = taskError(reply);
  switch (headers[COX.outcome] ?? celeryOutcome(error, reply.status)) {
    case "timed_out": {
      const limitMs = headers[COX.limitMs];
      const seconds = Number.parseFloat(error.message);
      return {
        kind: "timed_out",
        limitMs: typeof limitMs === "number" ? limitMs : (seconds || 0) * 1000,
      };
    }
    case "expired":
      return { kind: "expired" };
    case "cancelled":
      return { kind: "cancelled" };
    case "worker_lost":
      return { kind: "worker_lost", message: error.message };
    case "not_registered":
      return { kind: "not_registered", task: error.message };
    case "refused":
      return { kind: "refused", message: error.message };
    default:
      return { kind: "failed", error, headers: resultHeaders(headers[COX.headers]) };
  }
}

/** The same from a Celery worker, which tells it by the exception alone. */
function celeryOutcome({ type, message }: TaskError, status: unknown): string {
  if (status === "REVOKED") return message === "expired" ? "expired" : "cancelled";
  if (type === "TimeLimitExceeded" || type === "SoftTimeLimitExceeded") return "timed_out";
  if (type === "NotRegistered") return "not_registered";
  if (type === "WorkerLostError") return "worker_lost";
  return "failed";
}

function taskError(reply: Record<string, unknown>): TaskError {
  const result = isRecord(reply.result) ? reply.result : {};
  const message = Array.isArray(result.exc_message)
    ? result.exc_message.map(textOf).join(", ")
    : textOf(result.exc_message ?? "");
  return {
    type: typeof result.exc_type === "string" ? result.exc_type : "Error",
    message,
    ...(typeof reply.traceback === "string" ? { stack: reply.traceback } : {}),
    ...(Array.isArray(result.cox_issues) ? { issues: result.cox_issues.map(inputIssue) } : {}),
  };
}

function inputIssue(issue: unknown): { message: string; path: string[] } {
  const { message, path } = isRecord(issue) ? issue : {};
  return {
    message: typeof message === "string" ? message : "",
    path: Array.isArray(path) ? path.map(textOf) : [],
  };
}

function resultHeaders(value: HeaderValue | undefined): ResultHeaders {
  if (!isRecord(value)) return NO_HEADERS;
  const found: Record<string, string> = {};
  for (const [name, text] of Object.entries(value)) {
    if (typeof text === "string") found[name] = text;
  }
  return found;
}

function ending(ending: Ending): DecodedReply {
  return { kind: "ending", ending };
}

function unreadable(reason: string): DecodedReply {
  return ending({ kind: "unreadable_reply", message: `The reply cannot be read: ${reason}` });
}

/** Not by `String`, which calls what a table may name "toString". */
function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
