/** Messages between the port's words and the client's. */
import type { AMQPMessage, AMQPProperties, Field } from "@cloudamqp/amqp-client";
import type { HeaderValue, Message, MessageHeaders, MessageProperties } from "../message.ts";

const TRANSIENT = 1;
const PERSISTENT = 2;
const EMPTY_BODY = new Uint8Array(0);

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

/**
 * The client's spelling of properties. It leaves out what is empty, 0 or "".
 * @throws RangeError when a number is none that AMQP can carry.
 */
export function toWire(properties: MessageProperties): AMQPProperties {
  const { headers, persistent, priority, expirationMs, timestamp, ...texts } = properties;
  const wire: AMQPProperties = texts;
  if (persistent !== undefined) wire.deliveryMode = persistent ? PERSISTENT : TRANSIENT;
  if (headers !== undefined) wire.headers = headers as Record<string, Field>;
  if (timestamp !== undefined) wire.timestamp = timestamp;
  if (priority !== undefined) wire.priority = wholeNumber("priority", priority, 255);
  if (expirationMs !== undefined) {
    // RabbitMQ closes the channel on what it cannot read here.
    wire.expiration = String(wholeNumber("expirationMs", expirationMs, 2 ** 32 - 1));
  }
  return wire;
}

function wholeNumber(name: string, value: number, most: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= most) return value;
  throw new RangeError(`${name} must be a whole number from 0 to ${most}, got ${value}`);
}

/** The port's spelling of properties; each is absent where it was not set. */
export function fromWire(wire: AMQPProperties): MessageProperties {
  const read: Writable<MessageProperties> = {};
  if (wire.contentType !== undefined) read.contentType = wire.contentType;
  if (wire.contentEncoding !== undefined) read.contentEncoding = wire.contentEncoding;
  if (wire.headers !== undefined) read.headers = wire.headers as MessageHeaders;
  if (wire.deliveryMode === PERSISTENT) read.persistent = true;
  if (wire.priority !== undefined) read.priority = wire.priority;
  if (wire.correlationId !== undefined) read.correlationId = wire.correlationId;
  if (wire.replyTo !== undefined) read.replyTo = wire.replyTo;
  if (wire.expiration !== undefined) {
    const expirationMs = Number(wire.expiration);
    if (Number.isInteger(expirationMs)) read.expirationMs = expirationMs;
  }
  if (wire.messageId !== undefined) read.messageId = wire.messageId;
  // One that no Date can hold could not be written again.
  if (wire.timestamp !== undefined && !Number.isNaN(wire.timestamp.getTime())) {
    read.timestamp = wire.timestamp;
  }
  if (wire.type !== undefined) read.type = wire.type;
  if (wire.appId !== undefined) read.appId = wire.appId;
  return read;
}

/** A message as it came, its body as the client assembled it: nothing is copied. */
export function readMessage({ exchange, routingKey, properties, body }: AMQPMessage): Message {
  return { exchange, routingKey, properties: fromWire(properties), body: body ?? EMPTY_BODY };
}

/** For comparing what was published with what came back: the same text for the same headers. */
export function headersKey(headers: MessageHeaders = {}): string {
  return JSON.stringify(
    Object.entries(headers).toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([k, v]) => [k, plain(v)]),
  );
}

function plain(value: HeaderValue): unknown {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return Math.floor(value.getTime() / 1_000);
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)).map((
    [k, v],
  ) => [k, plain(v)]);
}
