/**
 * What AMQP's wire could not carry is refused here too, so that a program that runs on the embedded
 * broker runs on RabbitMQ. AMQP 0-9-1 §4.2.5.3: short strings have at most 255 bytes.
 */
import { Buffer } from "node:buffer";
import type { HeaderValue, Message, MessageHeaders, MessageProperties } from "../message.ts";

const SHORT_STRING_BYTES = 255;
/** No text up to this length has more bytes: UTF-8 needs three at most for a UTF-16 unit. */
const SURELY_SHORT = SHORT_STRING_BYTES / 3;
/** Deeper headers are refused before they exhaust the stack of whoever reads them. */
const MAX_HEADER_DEPTH = 64;
/** RabbitMQ's own limit (`max_message_size`) is 128 MiB before version 4, 16 MiB since. */
const MAX_BODY_BYTES = 128 * 1024 * 1024;

const shortStrings = [
  "contentType",
  "contentEncoding",
  "correlationId",
  "replyTo",
  "messageId",
  "type",
  "appId",
] as const satisfies readonly (keyof MessageProperties)[];

/** Why a message cannot be published, or undefined where it can. */
export function whyUnwritable(message: Message): string | undefined {
  const { exchange, routingKey, properties, body } = message;
  if (body.byteLength > MAX_BODY_BYTES) {
    return `the body has ${body.byteLength} bytes, at most ${MAX_BODY_BYTES} are possible`;
  }
  if (isTooLong(exchange)) return `exchange ${tooLong(exchange)}`;
  if (isTooLong(routingKey)) return `routing key ${tooLong(routingKey)}`;
  for (const name of shortStrings) {
    const value = properties[name];
    if (value !== undefined && isTooLong(value)) return `${name} ${tooLong(value)}`;
  }
  const { priority, expirationMs, headers } = properties;
  if (priority !== undefined && !(Number.isInteger(priority) && priority >= 0 && priority <= 255)) {
    return `priority must be a whole number from 0 to 255, got ${priority}`;
  }
  if (expirationMs !== undefined && !Number.isFinite(expirationMs)) {
    return `expirationMs must be a number of milliseconds, got ${expirationMs}`;
  }
  return headers === undefined ? undefined : whyUnwritableTable(headers, 0);
}

export function isTooLong(text: string): boolean {
  return text.length > SURELY_SHORT && Buffer.byteLength(text) > SHORT_STRING_BYTES;
}

function tooLong(text: string): string {
  return `"${text.slice(0, 40)}…" has ${Buffer.byteLength(text)} bytes, at most 255 are possible`;
}

function whyUnwritableTable(table: MessageHeaders, depth: number): string | undefined {
  if (depth > MAX_HEADER_DEPTH) return `headers are nested deeper than ${MAX_HEADER_DEPTH} levels`;
  for (const name in table) {
    if (isTooLong(name)) return `header name ${tooLong(name)}`;
    const value: unknown = table[name];
    // The usual cases, without a call. What is not set does not travel.
    if (typeof value === "string" || value === undefined) continue;
    const problem = whyUnwritableValue(value, name, depth);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function whyUnwritableValue(value: unknown, name: string, depth: number): string | undefined {
  switch (typeof value) {
    case "string":
    case "number":
    case "bigint":
    case "boolean":
      return undefined;
    case "object":
      if (value === null || value instanceof Date || value instanceof Uint8Array) return undefined;
      if (!Array.isArray(value)) return whyUnwritableTable(value as MessageHeaders, depth + 1);
      if (depth > MAX_HEADER_DEPTH) return `header "${name}" is nested too deeply`;
      for (const item of value as readonly HeaderValue[]) {
        const problem = whyUnwritableValue(item, name, depth + 1);
        if (problem !== undefined) return problem;
      }
      return undefined;
    default:
      return `header "${name.slice(0, 40)}" is of type ${typeof value}, which AMQP cannot carry`;
  }
}
