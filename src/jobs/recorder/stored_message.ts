/**
 * A whole message as text, for records of messages that are no jobs of ours: all that the broker
 * carried, so that an operator can send it back as it came.
 */
import * as v from "valibot";
import type { HeaderValue, Message, MessageProperties } from "../../broker/message.ts";
import { COX } from "../../calls/wire/names.ts";
import { republished } from "../../calls/wire/task_message.ts";

/** JSON has no such values: each is an object with one member of this name. */
const DATE = "$date";
const BYTES = "$base64";
const BIG = "$bigint";
const MAP = "$map";

const Stored = v.object({
  exchange: v.string(),
  routingKey: v.string(),
  properties: v.record(v.string(), v.unknown()),
  body: v.string(),
});

/** @param message as it was delivered. */
export function storeMessage({ exchange, routingKey, properties, body }: Message): string {
  return JSON.stringify({
    exchange,
    routingKey,
    properties: encode(properties),
    body: Buffer.from(body).toString("base64"),
  });
}

/** Undefined for all that `storeMessage` did not write. */
export function readStoredMessage(text: string): Message | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const stored = v.safeParse(Stored, json);
  if (!stored.success) return undefined;
  const { exchange, routingKey, properties, body } = stored.output;
  const decoded = Object.fromEntries(
    Object.entries(properties).map(([name, value]) => [name, decode(value)]),
  );
  return {
    exchange,
    routingKey,
    // Written by `storeMessage` from properties.
    properties: decoded as MessageProperties,
    body: new Uint8Array(Buffer.from(body, "base64")),
  };
}

/** What its way to the dead letters wrote on a message, and what would end it at once again. */
const STORY: readonly string[] = [
  COX.deadReason,
  COX.deadAt,
  COX.deadQueue,
  COX.node,
  COX.hops,
  COX.deaths,
  COX.failures,
  COX.notBefore,
];

/** The message as it is sent back to its queue: with a clean slate, and no expiry that is over. */
export function secondChance(message: Message, queue: string): Message {
  const clean = republished(message, { queue, headers: {} });
  const headers = Object.entries(clean.properties.headers ?? {})
    .filter(([name]) => !STORY.includes(name))
    .map(([name, value]): [string, HeaderValue] => [name, name === "expires" ? null : value]);
  return {
    ...clean,
    properties: { ...clean.properties, headers: Object.fromEntries(headers), persistent: true },
  };
}

function encode(value: unknown): unknown {
  if (typeof value === "bigint") return { [BIG]: String(value) };
  if (value instanceof Date) return { [DATE]: value.getTime() };
  if (value instanceof Uint8Array) return { [BYTES]: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(encode);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, one]) => [name, encode(one)] as const);
  // A table with a name of ours is told apart by one more.
  return entries.some(([name]) => name.startsWith("$"))
    ? { [MAP]: entries }
    : Object.fromEntries(entries);
}

function decode(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decode);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [first] = entries;
  if (first !== undefined && entries.length === 1) {
    const [name, one] = first;
    switch (name) {
      case BIG:
        return BigInt(String(one));
      case DATE:
        return new Date(Number(one));
      case BYTES:
        return new Uint8Array(Buffer.from(String(one), "base64"));
      case MAP:
        return Object.fromEntries(
          (Array.isArray(one) ? one : []).map((
            [key, inner]: [string, unknown],
          ) => [key, decode(inner)]),
        );
    }
  }
  return Object.fromEntries(entries.map(([name, one]) => [name, decode(one)]));
}
