/** What strangers may send, by structure: header tables, JSON that is odd, bodies, whole deliveries. */
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import type { Delivery, HeaderValue, MessageProperties } from "../../src/broker/message.ts";
import { COX } from "../../src/calls/wire/names.ts";

const encoder = new TextEncoder();

/** Texts of any kind: empty, long, lone surrogates, names that objects have already. */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.string({ unit: "binary", maxLength: 20 }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 }).map((units) =>
    String.fromCharCode(...units)
  ),
  fc.constantFrom("", " ", "\0", "__proto__", "constructor", "toString", "__type__", "\ud800"),
  fc.integer({ min: 1, max: 5_000 }).map((length) => "x".repeat(length)),
  fc.constantFrom("NaN", "Infinity", "-1", "1e999", "2026-02-30T25:61:61Z", "application/x-gzip"),
);

const anyNumber: fc.Arbitrary<number> = fc.oneof(
  fc.integer(),
  fc.double(),
  fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 2 ** 31, -(2 ** 31) - 1, 2 ** 53, 1e308),
);

/** Any value that a field table can carry. */
export const anyHeader: fc.Arbitrary<HeaderValue> = fc.letrec<{ value: HeaderValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    anyText,
    anyNumber,
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.boolean(),
    fc.constant(null),
    fc.date({ noInvalidDate: false }),
    fc.constantFrom(new Date(NaN), new Date(8.64e15)),
    fc.uint8Array({ maxLength: 20 }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(anyText, tie("value"), { maxKeys: 4 }),
  ),
})).value;

/** The names that mean something to a worker, a front or the recorder. */
const KNOWN_HEADERS = [
  ...["id", "task", "lang", "root_id", "parent_id", "group", "retries", "timelimit", "eta"],
  ...["expires", "origin", "compression", "argsrepr", "kwargsrepr", "traceparent", "ignore_result"],
  ...["x-death", "x-first-death-reason", "x-first-death-queue", "x-delivery-count"],
  ...Object.values(COX),
];

export const anyHeaders: fc.Arbitrary<Readonly<Record<string, HeaderValue>>> = fc.dictionary(
  fc.oneof({ arbitrary: fc.constantFrom(...KNOWN_HEADERS), weight: 4 }, anyText),
  anyHeader,
  { maxKeys: 8 },
);

/** Headers of a message that a worker would take: what follows the first looks is reached too. */
export const plausibleHeaders: fc.Arbitrary<Readonly<Record<string, HeaderValue>>> = fc.tuple(
  anyHeaders,
  fc.record({
    id: fc.uuid(),
    task: fc.constantFrom("math.add", "echo", "fail", "sleep", "nobody.knows"),
    [COX.kind]: fc.constantFrom("job", "call", "other"),
    retries: anyNumber,
    [COX.hops]: anyNumber,
  }),
).map(([any, known]) => ({ ...any, ...known }));

/** JSON text of any shape: `__proto__`, `__type__` as Celery writes them, deep, huge, duplicated. */
export const anyJson: fc.Arbitrary<string> = fc.oneof(
  { arbitrary: fc.json({ maxDepth: 4 }), weight: 4 },
  fc.jsonValue({ maxDepth: 3 }).map((value) =>
    JSON.stringify({ __type__: "datetime", __value__: value, ["__proto__"]: value })
  ),
  fc.constantFrom(
    '{"__proto__":{"id":"x"},"constructor":{"prototype":null}}',
    '{"a":1,"a":2,"":3}',
    "1e999",
    "-0",
    "123456789012345678901234567890",
    '"\\ud800"',
    "[[],{},null]",
    '[[1,2],{},{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]',
    '[[],{"x":{"__type__":"uuid","__value__":"nonsense"}},null]',
  ),
  fc.integer({ min: 1, max: 3_000 }).map(nested),
);

/** Brackets so deep that reading them by recursion ends the stack. */
export function nested(depth: number): string {
  return "[".repeat(depth) + "]".repeat(depth);
}

/** JSON, JSON cut off or with a byte changed, zlib streams of it, cut ones, and any bytes. */
export const anyBody: fc.Arbitrary<Uint8Array> = fc.oneof(
  anyJson.map((text) => encoder.encode(text)),
  fc.tuple(anyJson, fc.nat(50)).map(([text, cut]) => encoder.encode(text.slice(0, -cut))),
  anyJson.map((text) => new Uint8Array(deflateSync(text))),
  fc.tuple(anyJson, fc.nat(50)).map(([text, cut]) => new Uint8Array(deflateSync(text)).slice(cut)),
  fc.uint8Array({ maxLength: 64 }),
);

export const anyProperties: fc.Arbitrary<MessageProperties> = fc.record({
  contentType: fc.oneof(
    fc.constantFrom("application/json", "application/x-python-serialize"),
    anyText,
  ),
  contentEncoding: fc.oneof(fc.constantFrom("utf-8", "binary"), anyText),
  headers: fc.oneof(anyHeaders, plausibleHeaders),
  persistent: fc.boolean(),
  priority: fc.nat(255),
  correlationId: anyText,
  replyTo: anyText,
  expirationMs: fc.nat(2 ** 32 - 1),
  messageId: anyText,
  timestamp: fc.oneof(fc.date(), fc.constant(new Date(NaN))),
  type: anyText,
  appId: fc.oneof(fc.constant("coxswain"), anyText),
}, { requiredKeys: [] });

export const anyDelivery: fc.Arbitrary<Delivery> = fc.record({
  properties: anyProperties,
  body: anyBody,
  exchange: anyText,
  routingKey: anyText,
  redelivered: fc.boolean(),
  unreadable: fc.option(fc.constant("an unknown field type"), { nil: undefined, freq: 10 }),
}).map(({ properties, body, exchange, routingKey, redelivered, unreadable }) =>
  delivery(body, properties, { exchange, routingKey, redelivered, unreadable })
);

/** A delivery of a body. */
export function delivery(
  body: Uint8Array | string,
  properties: MessageProperties = {},
  { exchange = "", routingKey = "q", redelivered = false, unreadable }: {
    readonly exchange?: string;
    readonly routingKey?: string;
    readonly redelivered?: boolean;
    readonly unreadable?: string | undefined;
  } = {},
): Delivery {
  return {
    message: {
      exchange,
      routingKey,
      properties,
      body: typeof body === "string" ? encoder.encode(body) : body,
    },
    queue: "q",
    redelivered,
    ...(unreadable === undefined ? {} : { unreadable }),
    ack: () => {},
    nack: () => {},
  };
}

/** A name with its length before it, of any bytes. */
export const wireName: fc.Arbitrary<Uint8Array> = fc.oneof(
  { arbitrary: anyText.map((text) => Buffer.from(text).subarray(0, 255)), weight: 3 },
  { arbitrary: fc.constantFrom(...KNOWN_HEADERS).map((name) => Buffer.from(name)), weight: 3 },
  fc.uint8Array({ maxLength: 255 }),
).map((bytes) => Buffer.concat([Buffer.of(bytes.length), bytes]));

/** So many bytes follow, and they do: four bytes of length and what they announce. */
function counted(bytes: Uint8Array): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}

const FIXED: Readonly<Record<string, number>> = {
  ...{ t: 1, b: 1, B: 1, s: 2, u: 2, I: 4, i: 4, l: 8, L: 8, f: 4, d: 8, D: 5, T: 8, V: 0 },
};

/**
 * A field as it is on the wire, its letter before it: every type of AMQP 0-9-1 and RabbitMQ, and
 * letters that are none. https://www.rabbitmq.com/amqp-0-9-1-errata#section_3
 */
const wireField: fc.Arbitrary<Uint8Array> = fc.letrec<{ field: Uint8Array }>((tie) => ({
  field: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.constantFrom(...Object.keys(FIXED)).chain((letter) =>
      fc.uint8Array({ minLength: FIXED[letter] ?? 0, maxLength: FIXED[letter] ?? 0 })
        .map((value) => Buffer.concat([Buffer.from(letter), value]))
    ),
    fc.tuple(fc.constantFrom("S", "x"), fc.oneof(fc.uint8Array(), anyText.map(Buffer.from)))
      .map(([letter, bytes]) => Buffer.concat([Buffer.from(letter), counted(bytes)])),
    fc.array(tie("field"), { maxLength: 4 }).map((fields) =>
      Buffer.concat([Buffer.from("A"), counted(Buffer.concat(fields))])
    ),
    fc.array(fc.tuple(wireName, tie("field")), { maxLength: 4 }).map((fields) =>
      Buffer.concat([Buffer.from("F"), counted(Buffer.concat(fields.flat()))])
    ),
    fc.uint8Array({ minLength: 1, maxLength: 10 }),
  ),
})).field;

/** A header table; `lies` changes its announced length. */
export const wireTable: fc.Arbitrary<Uint8Array> = fc.tuple(
  fc.array(fc.tuple(wireName, wireField), { maxLength: 6 }),
  fc.oneof({ arbitrary: fc.constant(0), weight: 6 }, fc.integer({ min: -8, max: 8 })),
).map(([fields, lies]) => {
  const table = Buffer.from(counted(Buffer.concat(fields.flat())));
  table.writeUInt32BE(Math.max(0, table.readUInt32BE(0) + lies));
  return table;
});

/** Tables in tables, as deep as a frame allows. */
export function deepTable(depth: number): Uint8Array {
  let table: Uint8Array = counted(Buffer.alloc(0));
  for (let level = 0; level < depth; level++) {
    table = counted(Buffer.concat([Buffer.from("\x01aF"), table]));
  }
  return table;
}

/** A property list: flags and, for each that is set, its value; or bytes that are none. */
export const wireProperties: fc.Arbitrary<Uint8Array> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      flags: fc.integer({ min: 0, max: 0xffff }).map((flags) => flags & 0xfffc),
      texts: fc.array(wireName, { minLength: 10, maxLength: 10 }),
      table: wireTable,
      bytes: fc.uint8Array({ minLength: 10, maxLength: 10 }),
    }).map(({ flags, texts, table, bytes }) => {
      const parts: Uint8Array[] = [Buffer.of(flags >>> 8, flags & 0xff)];
      for (let bit = 15; bit > 1; bit--) {
        if ((flags & (1 << bit)) === 0) continue;
        if (bit === 13) parts.push(table);
        else if (bit === 12 || bit === 11) parts.push(bytes.subarray(bit - 11, bit - 10));
        else if (bit === 6) parts.push(bytes.subarray(2, 10));
        else parts.push(texts.pop() ?? Buffer.of(0));
      }
      return Buffer.concat(parts);
    }),
  },
  wireTable.map((table) => Buffer.concat([Buffer.of(0x20, 0), table])),
  fc.uint8Array({ maxLength: 40 }),
);
