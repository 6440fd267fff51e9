/**
 * A request to run a task, on the wire: Celery's task protocol 2 in JSON.
 * https://docs.celeryq.dev/en/stable/internals/protocol.html (headers, body triple), and what a
 * Celery 5.2 worker was seen to need: `task`, `id`, the exact content type, a body of three elements.
 */
import type {
  Delivery,
  HeaderValue,
  Message,
  MessageHeaders,
  MessageProperties,
} from "../../broker/message.ts";
import { CELERY_REPLIES_QUEUE } from "../../broker/topology.ts";
import type { CallInput } from "../call.ts";
import { compress } from "./compression.ts";
import { count } from "./header_values.ts";
import { COMPRESS_OVER_BYTES, COX, JSON_TYPE, wireInstant, ZLIB } from "./names.ts";

/** What is needed to write a request. */
export interface TaskRequest {
  readonly id: string;
  readonly task: string;
  readonly input: CallInput;
  readonly kind: "call" | "job";
  readonly queue: string;
  readonly replyTo?: string;
  readonly priority?: number;
  readonly persistent?: boolean;
  /** Epoch milliseconds before which nobody may start it. */
  readonly etaAt?: number;
  /** Attempts that may follow the first; absent: as the task's policy says. */
  readonly retryLimit?: number;
  /** Attempts before this one. Default 0. */
  readonly retries?: number;
  /** First attempt of the present round, from 1 on. Default 1. */
  readonly firstAttempt?: number;
  /** Celery's chains and callbacks, the third element of the body. Default: none. */
  readonly embedJson?: string;
  /** Default: the id. */
  readonly correlationId?: string;
  /** The job whose attempt sends this one, and the first of the line. */
  readonly parent?: { readonly id: string; readonly rootId: string };
  /** Epoch milliseconds after which nobody may start it, with the same as a duration. */
  readonly expires?: { readonly at: number; readonly inMs: number };
  /** How long the broker keeps a call in its queue. Default: until it expires. */
  readonly expirationMs?: number;
  readonly timeoutMs?: number;
  readonly softTimeoutMs?: number;
  readonly once?: boolean;
  /** What a Celery client's message carried besides, of which this is a further round. */
  readonly celeryHeaders?: MessageHeaders;
  /** Headers for the task; names that the protocol uses are not allowed (`isTaskHeader`). */
  readonly headers: Readonly<Record<string, string>>;
  readonly origin: string;
  readonly version: string;
}

/** A request as a worker reads it. The body is still to be parsed, in the isolate. */
export interface ReceivedTask {
  readonly id: string;
  readonly task: string;
  readonly kind: "call" | "job";
  /**
   * Its events are recorded: a job of ours, or a Celery client's request once the recorder has kept a
   * delay of it.
   */
  readonly isRecorded: boolean;
  readonly replyTo: string | undefined;
  readonly correlationId: string;
  /** Celery's `retries`: attempts before this one. */
  readonly retries: number;
  readonly retryLimit: number | undefined;
  /** From 1 on. */
  readonly firstAttempt: number;
  readonly rootId: string | undefined;
  readonly parentId: string | undefined;
  readonly timeoutMs: number | undefined;
  readonly softTimeoutMs: number | undefined;
  /** Epoch milliseconds. */
  readonly etaAt: number | undefined;
  readonly expiresAt: number | undefined;
  readonly once: boolean;
  readonly hops: number;
  readonly deaths: number;
  /** It may have been published before, and have run. */
  readonly again: boolean;
  readonly isCompressed: boolean;
  /** The sender is one of ours, which reads `started` notices and compressed replies. */
  readonly isOurs: boolean;
  /** The headers of who is not one of ours, as they came. */
  readonly celeryHeaders: MessageHeaders | undefined;
  /** Nobody is to be told how it ends. */
  readonly ignoresResult: boolean;
  readonly headers: Readonly<Record<string, string>>;
}

export type DecodedTask =
  | { readonly kind: "task"; readonly task: ReceivedTask }
  /** Nobody can run it. The rest is what an answer needs, where it is there. */
  | {
    readonly kind: "unusable";
    readonly reason: string;
    readonly id: string | undefined;
    readonly replyTo: string | undefined;
    readonly correlationId: string | undefined;
  };

/** Celery's protocol 2, and what brokers add. */
const PROTOCOL_HEADERS = new Set([
  ..."lang task id shadow eta expires group group_index retries timelimit root_id parent_id".split(
    " ",
  ),
  ..."argsrepr kwargsrepr origin ignore_result compression stamps stamped_headers".split(" "),
  ..."replaced_task_nesting meth redelivered".split(" "),
]);

/** Whether a header may carry something for the task: neither the protocol's nor a broker's own. */
export function isTaskHeader(name: string): boolean {
  return !PROTOCOL_HEADERS.has(name) && !name.startsWith("cox-") && !name.startsWith("x-death") &&
    !name.startsWith("x-first-death-") && !name.startsWith("x-last-death-") &&
    name !== "x-delivery-count" && name !== "x-acquired-count";
}

const CELERY = "celery";
const EMBED = '{"callbacks":null,"errbacks":null,"chain":null,"chord":null}';
const encoder = new TextEncoder();

/** Writes a request. Compresses the body when it is large, which alone makes this asynchronous. */
export function encodeTask(request: TaskRequest): Message | Promise<Message> {
  const { argsJson, kwargsJson } = request.input;
  const body = encoder.encode(`[${argsJson},${kwargsJson},${request.embedJson ?? EMBED}]`);
  if (body.length <= COMPRESS_OVER_BYTES) return taskMessage(request, body, false);
  return compress(body).then((compressed) => taskMessage(request, compressed, true));
}

function taskMessage(request: TaskRequest, body: Uint8Array, isCompressed: boolean): Message {
  const { id, expires, timeoutMs, softTimeoutMs, parent, etaAt } = request;
  const headers: Record<string, HeaderValue> = {
    lang: "js",
    ...request.celeryHeaders,
    ...(request.celeryHeaders === undefined ? {} : { [COX.from]: CELERY }),
    task: request.task,
    id,
    root_id: parent?.rootId ?? id,
    retries: request.retries ?? 0,
    timelimit: [wholeSeconds(timeoutMs), wholeSeconds(softTimeoutMs)],
    origin: request.celeryHeaders?.origin ?? request.origin,
    [COX.version]: request.version,
    [COX.kind]: request.kind,
  };
  // Celery's clients send null for what is not there; its workers read the same where it is left out,
  // and each header costs RabbitMQ a microsecond.
  if (parent !== undefined) headers.parent_id = parent.id;
  if (etaAt !== undefined) headers.eta = wireInstant(etaAt);
  if (expires !== undefined) headers.expires = wireInstant(expires.at);
  if (timeoutMs !== undefined) headers[COX.timeoutMs] = timeoutMs;
  if (softTimeoutMs !== undefined) headers[COX.softTimeoutMs] = softTimeoutMs;
  if (request.retryLimit !== undefined) headers[COX.retryLimit] = request.retryLimit;
  if ((request.firstAttempt ?? 1) > 1) headers[COX.firstAttempt] = request.firstAttempt ?? 1;
  if (request.once) headers[COX.once] = true;
  if (isCompressed) headers.compression = ZLIB;
  for (const name in request.headers) {
    const value = request.headers[name];
    if (value !== undefined && isTaskHeader(name)) headers[name] = value;
  }
  const properties: { -readonly [K in keyof MessageProperties]: MessageProperties[K] } = {
    contentType: JSON_TYPE,
    contentEncoding: "utf-8",
    headers,
    correlationId: request.correlationId ?? id,
    messageId: id,
    persistent: request.persistent ?? request.kind === "job",
  };
  if (request.priority) properties.priority = request.priority;
  if (request.replyTo !== undefined) properties.replyTo = request.replyTo;
  // Jobs carry the header alone: the broker must never drop one.
  const expirationMs = request.expirationMs ?? expires?.inMs;
  if (expirationMs !== undefined && request.kind === "call") properties.expirationMs = expirationMs;
  return { exchange: "", routingKey: request.queue, properties, body };
}

/** Celery's limits are whole seconds here: the client writes fractions as 32-bit floats. */
function wholeSeconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.ceil(ms / 1000);
}

/** Ids stand in routing keys behind a word or two of ours; AMQP's names have 255 bytes. */
const MAX_ID_BYTES = 200;
const MAX_NAME_BYTES = 255;

function isLonger(text: string, bytes: number): boolean {
  return text.length * 3 > bytes && Buffer.byteLength(text) > bytes;
}

/** Reads a request's properties and headers; the body is looked at by the isolate. */
export function decodeTask(delivery: Delivery): DecodedTask {
  const { properties } = delivery.message;
  const headers = properties.headers ?? {};
  const id = text(headers.id);
  const unusable = (reason: string): DecodedTask => ({
    kind: "unusable",
    reason,
    id: id ?? properties.correlationId,
    replyTo: properties.replyTo,
    correlationId: properties.correlationId ?? id,
  });
  if (delivery.unreadable !== undefined) return unusable(delivery.unreadable);
  const task = text(headers.task);
  if (id === undefined || id === "" || task === undefined || task === "") {
    return unusable(
      'The message has no "task" and "id" headers: it is not of Celery\'s task protocol 2',
    );
  }
  if (isLonger(id, MAX_ID_BYTES) || isLonger(task, MAX_NAME_BYTES)) {
    return unusable(
      `The id has at most ${MAX_ID_BYTES} bytes, and the task's name ${MAX_NAME_BYTES}`,
    );
  }
  if (!isJson(properties.contentType)) {
    return unusable(
      `The body's content type is ${
        properties.contentType ?? "missing"
      }: only ${JSON_TYPE} is read (Celery: task_serializer = "json")`,
    );
  }
  const compression = text(headers.compression);
  if (compression !== undefined && compression !== ZLIB) {
    return unusable(`The body's compression is ${compression}: only ${ZLIB} is read`);
  }
  const etaAt = instant(headers.eta);
  const expiresAt = instant(headers.expires);
  if (Number.isNaN(etaAt)) return unusable(`The eta header is not an instant`);
  if (Number.isNaN(expiresAt)) return unusable(`The expires header is not an instant`);
  const isOurs = (headers[COX.version] !== undefined || headers[COX.kind] !== undefined) &&
    headers[COX.from] !== CELERY;
  const [hard, soft] = Array.isArray(headers.timelimit) ? headers.timelimit : [];
  return {
    kind: "task",
    task: {
      id,
      task,
      kind: headers[COX.kind] === "call" ? "call" : "job",
      isRecorded: headers[COX.kind] === "job",
      // What a worker of ours tells of a job is told in events.
      replyTo: properties.replyTo === CELERY_REPLIES_QUEUE.name ? undefined : properties.replyTo,
      correlationId: properties.correlationId ?? id,
      retries: count(headers.retries),
      retryLimit: whole(headers[COX.retryLimit]),
      firstAttempt: Math.max(1, count(headers[COX.firstAttempt])),
      rootId: text(headers.root_id),
      parentId: text(headers.parent_id),
      timeoutMs: positive(headers[COX.timeoutMs]) ?? secondsAsMs(hard),
      softTimeoutMs: positive(headers[COX.softTimeoutMs]) ?? secondsAsMs(soft),
      etaAt,
      expiresAt,
      once: headers[COX.once] === true,
      hops: count(headers[COX.hops]),
      deaths: count(headers[COX.deaths]),
      again: headers[COX.again] === true,
      isCompressed: compression !== undefined,
      isOurs,
      celeryHeaders: isOurs ? undefined : headers,
      ignoresResult: !isOurs && headers.ignore_result === true,
      headers: taskHeaders(headers),
    },
  };
}

/**
 * The same request for another round: with some headers set anew, its remaining time to live, and
 * without what brokers wrote on it (a copied `x-death` makes RabbitMQ drop a message as a cycle).
 */
export function republished(
  message: Message,
  changes: {
    readonly queue: string;
    readonly headers: Readonly<Record<string, HeaderValue>>;
    readonly expirationMs?: number;
  },
): Message {
  const kept = Object.entries(message.properties.headers ?? {}).filter(([name]) =>
    !/^x-(death|first-death-|last-death-|delivery-count|acquired-count)/.test(name)
  );
  const { expirationMs: _old, ...properties } = message.properties;
  return {
    exchange: "",
    routingKey: changes.queue,
    body: message.body,
    properties: {
      ...properties,
      headers: { ...Object.fromEntries(kept), ...changes.headers },
      ...(changes.expirationMs === undefined ? {} : { expirationMs: changes.expirationMs }),
    },
  };
}

/** A message for `cox.dead-letters`, with why, when, by whom and from where. */
export function deadLetter(
  message: Message,
  story: {
    readonly to: string;
    readonly reason: string;
    readonly queue: string;
    readonly node: string;
    readonly at: number;
  },
): Message {
  const letter = republished(message, {
    queue: story.to,
    headers: {
      [COX.deadReason]: story.reason,
      [COX.deadQueue]: story.queue,
      [COX.node]: story.node,
      [COX.deadAt]: wireInstant(story.at),
    },
  });
  return { ...letter, properties: { ...letter.properties, persistent: true } };
}

function taskHeaders(
  headers: Readonly<Record<string, HeaderValue>>,
): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name in headers) {
    const value = headers[name];
    if (!isTaskHeader(name)) continue;
    if (typeof value === "string") found[name] = value;
    else if (typeof value === "number" || typeof value === "boolean") found[name] = String(value);
  }
  return found;
}

function isJson(contentType: string | undefined): boolean {
  return contentType === JSON_TYPE ||
    (contentType !== undefined &&
      /^application\/json\s*;\s*charset="?utf-?8"?$/i.test(contentType));
}

function text(value: HeaderValue | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function whole(value: HeaderValue | undefined): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : undefined;
}

function positive(value: HeaderValue | undefined): number | undefined {
  return typeof value === "number" && value > 0 ? value : undefined;
}

function secondsAsMs(value: HeaderValue | undefined): number | undefined {
  const seconds = positive(value);
  return seconds === undefined ? undefined : seconds * 1000;
}

/** Epoch milliseconds; undefined where there is none, NaN where it cannot be read. */
function instant(value: HeaderValue | undefined): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (value instanceof Date) return value.getTime();
  if (typeof value !== "string") return NaN;
  // Celery writes naive instants in UTC where its client has `enable_utc`, the default.
  return Date.parse(/([zZ]|[+-]\d\d:?\d\d)$/.test(value) ? value : `${value}Z`);
}
