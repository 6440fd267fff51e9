/** Texts on the wire through the mended client. */
import { AMQPView } from "@cloudamqp/amqp-client/amqp-view";
import { beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { guardClient } from "../../../src/broker/amqp/client_guard.ts";

beforeAll(guardClient);

const texts = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.string({ maxLength: 30 }),
  // Alike in length, first, middle and last byte: they share a place among the known names.
  fc.string({ minLength: 2, maxLength: 2 }).map((two) => `na${two}me_of_${two}_x`),
);

/** What UTF-8 can carry: a lone surrogate becomes the replacement character. */
const carried = (text: string) =>
  new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text));

test("any text comes back as it was written, in whichever memory and place", () => {
  fc.assert(
    fc.property(fc.array(texts, { maxLength: 40 }), fc.nat(50), (list, offset) => {
      const view = new AMQPView(new ArrayBuffer(32 * 1024), offset);
      let at = 0;
      for (const text of list) {
        at += view.setLongString(at, text);
        if (Buffer.byteLength(text) <= 255) at += view.setShortString(at, text);
      }
      const end = at;
      at = 0;
      for (const text of list) {
        const [long, longLength] = view.getLongString(at);
        at += longLength;
        expect(long).toBe(carried(text));
        if (Buffer.byteLength(text) > 255) continue;
        const [short, shortLength] = view.getShortString(at);
        at += shortLength;
        expect(short).toBe(carried(text));
      }
      expect(at).toBe(end);
    }),
    { numRuns: 500 },
  );
});

test("a name is read from the memory, not from what it held before", () => {
  const view = new AMQPView(new ArrayBuffer(64));
  for (const name of ["parent_id", "patent_id", "parent_id", "", "x"]) {
    view.setShortString(0, name);
    expect(view.getShortString(0)).toEqual([name, name.length + 1]);
  }
});

test("a short string over 255 bytes, and a text past the end, are refused", () => {
  const view = new AMQPView(new ArrayBuffer(512), 0, 300);
  expect(() => view.setShortString(0, "é".repeat(128))).toThrow("256 bytes");
  expect(() => view.setLongString(0, "x".repeat(297))).toThrow(RangeError);
  expect(view.setLongString(0, "x".repeat(296))).toBe(300);
  view.setUint32(0, 297);
  expect(() => view.getLongString(0)).toThrow(RangeError);
});
