/**
 * What a dead letter is in the records: an event of the job that it belongs to, or a record of its own
 * where it is a stranger's (a Celery client's message, a consumer's, something that nobody can read).
 * Pure, but for inflating bodies; dead_letters.ts drains the queue.
 */
import type { Delivery, HeaderValue, MessageHeaders } from "../../broker/message.ts";
import { count } from "../../calls/wire/header_values.ts";
import { decompress, InflateError } from "../../calls/wire/compression.ts";
import { COX } from "../../calls/wire/names.ts";
import { decodeTask } from "../../calls/wire/task_message.ts";
import { createdAtOf } from "../../platform/ids.ts";
import type { JobEvent, JobRequest } from "../job_event.ts";
import { jobRequest } from "../job_message.ts";
import { storeMessage } from "./stored_message.ts";

/** Larger bodies are not inflated: the record then lacks the input if nobody else has told it. */
const MAX_INFLATED_BYTES = 16 * 2 ** 20;
/** Larger bodies are more than a record should hold. RabbitMQ 4 takes none over 16 MiB. */
export const MAX_STORED_BYTES = 16 * 2 ** 20;
const MAX_NAME_LENGTH = 255;
/** Tasks of records whose message names none. */
export const NO_TASK = "unknown";

export interface ReadLetter {
  readonly event: Extract<JobEvent, { kind: "dead_lettered" }>;
  /** It belongs to a job of ours, which has a record, or will have one. */
  readonly isOfJob: boolean;
}

/**
 * Reads a letter.
 * @param newId makes the id of a message that has none that could be used.
 * @param now epoch milliseconds.
 */
export async function readLetter(
  delivery: Delivery,
  newId: () => string,
  now: number,
): Promise<ReadLetter> {
  const { message: { properties } } = delivery;
  const headers = properties.headers ?? {};
  const id = name(headers.id);
  const task = name(headers.task);
  const { reason, queue, at } = storyOf(headers, now);
  const isOfJob = headers[COX.kind] === "job" && id !== undefined && task !== undefined;
  // Nobody but the letter may know what was asked; where the record knows, it stays.
  const request = (isOfJob ? await requestOf(delivery) : undefined) ??
    wholeMessage(delivery, isOfJob ? undefined : id);
  const retries = count(headers.retries);
  const event: ReadLetter["event"] = {
    kind: "dead_lettered",
    id: (isOfJob ? id : undefined) ?? newId(),
    task: task ?? NO_TASK,
    queue: queue ?? name(delivery.message.routingKey) ?? delivery.queue,
    createdAt: (isOfJob ? createdAtOf(id) : undefined) ?? at,
    attempt: retries + 1,
    firstAttempt: Math.max(1, count(headers[COX.firstAttempt])),
    seq: Math.floor(at),
    at,
    reason,
    settles: true,
    request,
  };
  return { event, isOfJob };
}

interface Story {
  readonly reason: string;
  readonly queue: string | undefined;
  readonly at: number;
}

/** Why, where and when: by whoever gave it up, one of ours or the broker. */
function storyOf(headers: MessageHeaders, now: number): Story {
  const reason = text(headers[COX.deadReason]);
  if (reason !== undefined) {
    const at = Date.parse(text(headers[COX.deadAt]) ?? "");
    return {
      reason,
      queue: name(headers[COX.deadQueue]),
      at: Number.isNaN(at) ? now : at,
    };
  }
  // https://www.rabbitmq.com/docs/dlx#effects
  const why = text(headers["x-first-death-reason"]);
  const queue = name(headers["x-first-death-queue"]);
  if (why === undefined) return { reason: "Nobody says why it is here", queue, at: now };
  return {
    reason: BROKER_REASONS[why] ?? `The broker gave it up: ${why.slice(0, MAX_NAME_LENGTH)}`,
    queue,
    at: now,
  };
}

const BROKER_REASONS: Readonly<Record<string, string>> = {
  rejected: "A consumer rejected it",
  expired: "The broker dropped it: its time to live in the queue was over",
  maxlen: "The broker dropped it: the queue was full",
  delivery_limit: "The broker gave it up: it was delivered too often without being settled",
};

/** What the job asks, where its message can be read. */
async function requestOf(delivery: Delivery): Promise<JobRequest | undefined> {
  const decoded = decodeTask(delivery);
  if (decoded.kind === "unusable") return undefined;
  const { body, properties: { priority } } = delivery.message;
  try {
    const bytes = decoded.task.isCompressed ? await decompress(body, MAX_INFLATED_BYTES) : body;
    const triple = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return jobRequest(decoded.task, priority, triple);
  } catch (error) {
    // Not UTF-8, or too large: the reason of the letter says more.
    if (error instanceof InflateError || error instanceof TypeError) return undefined;
    throw error;
  }
}

function wholeMessage({ message, unreadable }: Delivery, id: string | undefined): JobRequest {
  const isTooLarge = message.body.byteLength > MAX_STORED_BYTES;
  return {
    terms: id === undefined ? {} : { correlationId: id },
    payload: {
      input: { argsJson: "[]", kwargsJson: "{}" },
      headers: unreadable === undefined ? {} : { unreadable: unreadable.slice(0, 1_000) },
      wireJson: storeMessage(isTooLarge ? { ...message, body: new Uint8Array() } : message),
    },
  };
}

function text(value: HeaderValue | undefined): string | undefined {
  return typeof value === "string" ? value.toWellFormed().replaceAll("\0", "") : undefined;
}

function name(value: HeaderValue | undefined): string | undefined {
  const given = text(value);
  return given === undefined || given === "" || given.length > MAX_NAME_LENGTH ? undefined : given;
}
