/**
 * Message properties as JSON text for the disk. What JSON has no word for is an object with the one
 * key "$": [kind, text]; an object that has a key "$" of its own is wrapped in the same way.
 */
import { Buffer } from "node:buffer";
import type { HeaderValue, MessageProperties } from "../message.ts";

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export function encodeProperties(properties: MessageProperties): string {
  const { headers, timestamp, ...rest } = properties;
  return JSON.stringify({
    ...rest,
    ...(timestamp === undefined ? {} : { timestamp: timestamp.getTime() }),
    ...(headers === undefined ? {} : { headers: encodeTable(headers) }),
  });
}

/** @throws Error when the text is not what `encodeProperties` wrote. */
export function decodeProperties(text: string): MessageProperties {
  const { headers, timestamp, ...rest } = JSON.parse(text) as
    & Omit<MessageProperties, "headers" | "timestamp">
    & { readonly headers?: { readonly [key: string]: Json }; readonly timestamp?: number };
  return {
    ...rest,
    ...(timestamp === undefined ? {} : { timestamp: new Date(timestamp) }),
    ...(headers === undefined ? {} : { headers: decodeTable(headers) }),
  };
}

function encodeTable(table: { readonly [key: string]: HeaderValue }): { [key: string]: Json } {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, encode(value)]));
}

function encode(value: HeaderValue): Json {
  if (typeof value === "bigint") return { $: ["bigint", String(value)] };
  if (typeof value === "number") {
    return Number.isFinite(value) && !Object.is(value, -0) ? value : { $: ["number", name(value)] };
  }
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return { $: ["date", name(value.getTime())] };
  if (value instanceof Uint8Array) return { $: ["bytes", Buffer.from(value).toString("base64")] };
  if (isList(value)) return value.map(encode);
  const table = encodeTable(value);
  return Object.hasOwn(table, "$") ? { $: ["table", table] } : table;
}

function decodeTable(table: { readonly [key: string]: Json }): { [key: string]: HeaderValue } {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, decode(value)]));
}

function decode(value: Json): HeaderValue {
  if (typeof value !== "object" || value === null) return value;
  if (isList(value)) return value.map(decode);
  if (!Object.hasOwn(value, "$")) return decodeTable(value);
  const [kind, content] = value["$"] as readonly [string, Json];
  switch (kind) {
    case "bigint":
      return BigInt(content as string);
    case "number":
      return Number(content as string);
    case "date":
      return new Date(Number(content as string));
    case "bytes":
      return new Uint8Array(Buffer.from(content as string, "base64"));
    case "table":
      return decodeTable(content as { readonly [key: string]: Json });
    default:
      throw new Error(`Cannot read a header from disk: "${kind}" is no known kind`);
  }
}

/** "-0" where String would say "0". */
function name(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

function isList<T>(value: readonly T[] | object): value is readonly T[] {
  return Array.isArray(value);
}
