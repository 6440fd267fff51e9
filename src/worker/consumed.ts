/**
 * A consumed message as the worker reads it, and as it is written for its next attempt. What a message
 * has been through travels in its headers: whichever worker takes it next goes on from there, and its
 * handler sees it as it was first published.
 */
import type { Delivery, HeaderValue, Message, MessageHeaders } from "../broker/message.ts";
import { count } from "../calls/wire/header_values.ts";
import { COX, wireInstant } from "../calls/wire/names.ts";
import { republished } from "../calls/wire/task_message.ts";
import { type Envelope, type Properties, writeConsumed } from "../tasks/consumed_message.ts";

/** Failures that a message remembers, the latest. All headers must fit into a frame of 128 KiB. */
const MAX_HISTORY = 10;
const MAX_FAILURE_LENGTH = 500;

export interface Consumed {
  /** The message's own id where it has one. */
  readonly id: string;
  /** Attempts that have failed. */
  readonly failures: number;
  /** Isolates that have died by it. */
  readonly deaths: number;
  /** What its latest failures were, a line each, oldest first. */
  readonly history: readonly string[];
  /** Epoch milliseconds; its pause was cut short. */
  readonly notBeforeAt: number | undefined;
  readonly envelope: Envelope;
  readonly properties: Properties;
}

/** What its next attempt has to know. */
export interface Progress {
  readonly failures: number;
  readonly deaths: number;
  readonly history: readonly string[];
  readonly notBeforeAt?: number;
}

/** Headers that `nextRound` writes and `readConsumed` takes off again. */
const OURS: ReadonlySet<string> = new Set([
  COX.exchange,
  COX.routingKey,
  COX.consumedId,
  COX.failures,
  COX.deaths,
  COX.history,
  COX.notBefore,
]);

/** @param newId makes the id of a message that has none. */
export function readConsumed(delivery: Delivery, newId: () => string): Consumed {
  const { message, queue, redelivered } = delivery;
  const headers = message.properties.headers ?? {};
  // Only what came back through the default exchange was written by a worker.
  const isNextRound = message.exchange === "" && typeof headers[COX.consumedId] === "string" &&
    headers[COX.consumedId] !== "";
  const own = isNextRound ? headers : {};
  const { messageId = "" } = message.properties;
  return {
    id: text(own[COX.consumedId]) ?? (messageId === "" ? newId() : messageId),
    failures: count(own[COX.failures]),
    deaths: count(own[COX.deaths]),
    history: texts(own[COX.history]),
    notBeforeAt: instant(own[COX.notBefore]),
    envelope: {
      exchange: text(own[COX.exchange]) ?? message.exchange,
      routingKey: text(own[COX.routingKey]) ?? message.routingKey,
      redelivered,
      queue,
    },
    properties: propertiesOf(message, isNextRound),
  };
}

/** What crosses to the isolate. */
export function consumedBody(
  { envelope, properties }: Consumed,
  { body }: Message,
  redelivered: boolean,
): string {
  return writeConsumed({ ...envelope, redelivered }, properties, body);
}

/** Headers for `context.request.headers`: those that are texts. */
export function textHeaders({ properties }: Consumed): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(properties.headers)) {
    if (typeof value === "string") found[name.toLowerCase()] = value;
  }
  return found;
}

/** The message for its next attempt, to its own queue through the default exchange. */
export function nextRound(message: Message, consumed: Consumed, progress: Progress): Message {
  return republished(message, {
    queue: consumed.envelope.queue,
    headers: ownHeaders(consumed, progress),
  });
}

/** What its headers tell where it is dead-lettered. */
export function ownHeaders(
  { id, envelope }: Consumed,
  { failures, deaths, history, notBeforeAt }: Progress,
): Readonly<Record<string, HeaderValue>> {
  return {
    [COX.exchange]: envelope.exchange,
    [COX.routingKey]: envelope.routingKey,
    [COX.consumedId]: id,
    [COX.failures]: failures,
    [COX.deaths]: deaths,
    [COX.history]: history,
    ...(notBeforeAt === undefined ? {} : { [COX.notBefore]: wireInstant(notBeforeAt) }),
  };
}

/** The history with one failure more. */
export function remember(
  { history, failures }: Consumed,
  failure: string,
  node: string,
  now: number,
): readonly string[] {
  const line = `${wireInstant(now)} attempt ${failures + 1} on ${node}: ${failure}`;
  return [...history, line.slice(0, MAX_FAILURE_LENGTH).toWellFormed()].slice(-MAX_HISTORY);
}

function propertiesOf({ properties }: Message, isNextRound: boolean): Properties {
  const { headers = {}, persistent, expirationMs, ...rest } = properties;
  return {
    ...rest,
    headers: isNextRound ? withoutOurs(headers) : headers,
    deliveryMode: persistent === true ? 2 : 1,
    ...(expirationMs === undefined ? {} : { expiration: String(expirationMs) }),
  };
}

function withoutOurs(headers: MessageHeaders): MessageHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !OURS.has(name)));
}

function text(value: HeaderValue | undefined): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function texts(value: HeaderValue | undefined): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

function instant(value: HeaderValue | undefined): number | undefined {
  const at = typeof value === "string" ? Date.parse(value) : NaN;
  return Number.isNaN(at) ? undefined : at;
}
