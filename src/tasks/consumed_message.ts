/**
 * A consumed message on its way into an isolate, and what its handler gets there. The body stays as it
 * came, behind a head in JSON: large ones are not escaped, and parsed in the isolate alone.
 */
import { Buffer } from "node:buffer";
import type { ReadArguments } from "./arguments.ts";

/** Where a consumed message came from. */
export interface Envelope {
  /** The exchange that it was published to; "" where it was sent to the queue by its name. */
  readonly exchange: string;
  readonly routingKey: string;
  /** The broker has handed it out before: it may have been handled already. */
  readonly redelivered: boolean;
  readonly queue: string;
}

/** What AMQP's field tables carry. */
export type HeaderField =
  | string
  | number
  | bigint
  | boolean
  | null
  | Date
  | Uint8Array
  | readonly HeaderField[]
  | { readonly [name: string]: HeaderField };

/** The properties of a consumed message: AMQP 0-9-1's basic properties, absent where not set. */
export interface Properties {
  readonly contentType?: string;
  readonly contentEncoding?: string;
  readonly headers: Readonly<Record<string, HeaderField>>;
  /** 2: kept on disk by durable queues. */
  readonly deliveryMode: 1 | 2;
  readonly priority?: number;
  readonly correlationId?: string;
  readonly replyTo?: string;
  /** Milliseconds, as text. */
  readonly expiration?: string;
  readonly messageId?: string;
  readonly timestamp?: Date;
  readonly type?: string;
  readonly appId?: string;
}

/**
 * How the body is to be read, told by its content type: as JSON where it is JSON and as text where it
 * is not; as text; as bytes. Without a content type it is what it can be, in this order.
 */
export type BodyForm = "json or text" | "text" | "bytes";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Writes what crosses to the isolate. */
export function writeConsumed(
  envelope: Envelope,
  properties: Properties,
  body: Uint8Array,
): string {
  const form = formOf(properties.contentType);
  const text = form === "bytes" ? undefined : textOf(body);
  const head = JSON.stringify([
    text === undefined ? "bytes" : form,
    envelope,
    plainProperties(properties),
  ]);
  return `${head}\n${text ?? Buffer.from(body).toString("base64")}`;
}

/** Reads it: the three arguments of a handler. */
export function readConsumed(written: string): ReadArguments {
  const end = written.indexOf("\n");
  const body = written.slice(end + 1);
  // Both ends are this program, so the head has the shape that is written above.
  const [form, envelope, properties] = JSON.parse(written.slice(0, end)) as [
    BodyForm,
    Envelope,
    PlainProperties,
  ];
  return {
    kind: "arguments",
    values: [bodyOf(form, body), Object.freeze(envelope), propertiesOf(properties)],
  };
}

/** Only what says so is text or bytes for certain: many publishers name no content type. */
function formOf(contentType = ""): BodyForm {
  if (/^text\//i.test(contentType)) return "text";
  return /^application\/octet-stream\b/i.test(contentType) ? "bytes" : "json or text";
}

function textOf(body: Uint8Array): string | undefined {
  try {
    return decoder.decode(body);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

function bodyOf(form: BodyForm, body: string): unknown {
  switch (form) {
    case "text":
      return body;
    case "bytes":
      return new Uint8Array(Buffer.from(body, "base64"));
    case "json or text":
      try {
        return JSON.parse(body);
      } catch {
        // Not JSON, or nested too deeply to be read: the handler gets what came.
        return body;
      }
  }
}

/** What JSON cannot carry is a pair of its kind and its text; lists and tables too, to be told apart. */
type PlainField = string | number | boolean | null | readonly [kind: FieldKind, value: unknown];
type FieldKind = "number" | "bigint" | "date" | "bytes" | "list" | "table";

interface PlainProperties extends Omit<Properties, "headers" | "timestamp"> {
  readonly headers: Readonly<Record<string, PlainField>>;
  readonly timestamp?: number;
}

function plainProperties({ headers, timestamp, ...rest }: Properties): PlainProperties {
  return {
    ...rest,
    headers: mapped(headers, plainField),
    ...(timestamp === undefined ? {} : { timestamp: timestamp.getTime() }),
  };
}

function propertiesOf({ headers, timestamp, ...rest }: PlainProperties): Properties {
  return {
    ...rest,
    headers: mapped(headers, fieldOf),
    ...(timestamp === undefined ? {} : { timestamp: new Date(timestamp) }),
  };
}

function plainField(value: HeaderField): PlainField {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value : ["number", String(value)];
    case "bigint":
      return ["bigint", String(value)];
    default:
      if (value === null) return null;
      if (value instanceof Date) return ["date", value.getTime()];
      if (value instanceof Uint8Array) return ["bytes", Buffer.from(value).toString("base64")];
      return isList(value)
        ? ["list", value.map(plainField)]
        : ["table", Object.entries(mapped(value, plainField))];
  }
}

function fieldOf(value: PlainField): HeaderField {
  if (!Array.isArray(value)) return value as HeaderField;
  const [kind, content] = value as readonly [FieldKind, unknown];
  switch (kind) {
    case "number":
      return Number(content);
    case "bigint":
      return BigInt(String(content));
    case "date":
      return new Date(Number(content));
    case "bytes":
      return new Uint8Array(Buffer.from(String(content), "base64"));
    case "list":
      return (content as readonly PlainField[]).map(fieldOf);
    case "table":
      return mapped(
        Object.fromEntries(content as readonly (readonly [string, PlainField])[]),
        fieldOf,
      );
  }
}

function isList(value: object): value is readonly HeaderField[] {
  return Array.isArray(value);
}

function mapped<From, To>(
  record: Readonly<Record<string, From>>,
  map: (value: From) => To,
): Record<string, To> {
  return Object.fromEntries(
    Object.entries(record).filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, map(value)]),
  );
}
