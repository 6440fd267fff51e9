/** How the client reads and writes properties once it is mended. */
import { AMQPView } from "@cloudamqp/amqp-client/amqp-view";
import { beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { guardClient, unreadableReason } from "../../../src/broker/amqp/client_guard.ts";
import { HAS_HEADERS, longString, table, uint16, uint32 } from "../../support/raw_amqp.ts";

beforeAll(guardClient);

const END_MARK = Buffer.of(0xce);

/** Reads a property list as the client's parser does: from a view of one frame. */
function read(...parts: readonly Buffer[]) {
  const bytes = new Uint8Array(Buffer.concat([...parts, END_MARK]));
  return new AMQPView(bytes.buffer).getProperties(0);
}

function roundTrip(value: unknown): unknown {
  const view = new AMQPView(new ArrayBuffer(4096));
  view.setProperties(0, { headers: { value } as Record<string, object> });
  return view.getProperties(0)[0].headers?.["value"];
}

test("headers that can be read are not marked", () => {
  const [{ headers }, length] = read(uint16(HAS_HEADERS), table(["a", "t", Buffer.of(1)]));
  expect(headers).toEqual({ a: true });
  expect(unreadableReason(headers ?? {})).toBeUndefined();
  expect(length).toBe(2 + 4 + 4);
});

test("a field of an unknown type costs its table and nothing else", () => {
  const HAS_PRIORITY = 0x0800;
  const flags = uint16(HAS_HEADERS | HAS_PRIORITY);
  const odd = table(["odd", "L", Buffer.alloc(8)]);
  const [{ headers, priority }, length] = read(flags, odd, Buffer.of(7));
  expect(unreadableReason(headers ?? {})).toContain("not supported");
  expect(priority).toBe(7);
  expect(length).toBe(2 + odd.length + 1);
});

test("lengths that lead out of the frame end the frame and no more", () => {
  for (
    const headers of [
      Buffer.concat([uint32(1_000_000), Buffer.alloc(8)]),
      table(["odd", "S", uint32(2 ** 31)]),
      table(["odd", "A", uint32(99)]),
      Buffer.alloc(0),
    ]
  ) {
    const [properties, length] = read(uint16(HAS_HEADERS), headers);
    expect(unreadableReason(properties.headers ?? {})).toBeString();
    expect(length).toBeLessThanOrEqual(2 + headers.length);
  }
});

test("whatever bytes come, reading never throws", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 2, maxLength: 80 }), (bytes) => {
      const [, length] = read(Buffer.from(bytes));
      expect(length).toBeGreaterThan(0);
    }),
    { numRuns: 2_000 },
  );
});

test("byte arrays do not lie in the memory that is read into", () => {
  const frame = new Uint8Array(
    Buffer.concat([uint16(HAS_HEADERS), table(["b", "x", longString("abc")]), END_MARK]),
  );
  const [{ headers }] = new AMQPView(frame.buffer).getProperties(0);
  frame.fill(0);
  expect(headers?.["b"]).toEqual(new Uint8Array(Buffer.from("abc")));
});

test("numbers travel exactly", () => {
  const numbers = [
    0,
    -1,
    2 ** 31 - 1,
    -(2 ** 31),
    2 ** 31,
    2 ** 32 - 1,
    -(2 ** 32) + 1,
    2 ** 53 - 1,
    0.1,
    1e300,
    Infinity,
  ];
  for (const value of numbers) expect(roundTrip(value)).toBe(value);
  fc.assert(fc.property(fc.double({ noNaN: true }), (value) => {
    expect(roundTrip(value)).toBe(value + 0);
  }));
});

test("what does not fit into 64 bits is refused", () => {
  expect(() => roundTrip(2n ** 63n)).toThrow(RangeError);
  expect(() => roundTrip(-(2n ** 63n) - 1n)).toThrow(RangeError);
});

test("whole numbers have types that Celery's client reads as such: never the 16-bit one", () => {
  for (const value of [0, 1, 127, 128, 255, 256, 32_767, 32_768, 2 ** 31 - 1, -1, -129, 2 ** 40]) {
    const view = new AMQPView(new ArrayBuffer(64));
    view.setField(0, value);
    // py-amqp reads "s" as a short text. https://www.rabbitmq.com/amqp-0-9-1-errata#section_3
    expect("Il").toContain(String.fromCharCode(view.getUint8(0)));
  }
});
