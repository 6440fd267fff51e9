import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { frame, problemOfLine, textOfLine } from "../../src/devices/framing.ts";

const encoder = new TextEncoder();
const MAX = 32;

/** Feeds chunks as a session does, until a line is too long. */
function feed(chunks: readonly Uint8Array[], maxBytes = MAX) {
  const lines: string[] = [];
  let rest: Uint8Array | undefined;
  for (const chunk of chunks) {
    const framed = frame(rest, chunk, maxBytes);
    lines.push(...framed.lines.map((line) => hex(line)));
    rest = framed.rest;
    if (framed.isTooLong) return { lines, rest: undefined, isTooLong: true };
  }
  return { lines, rest: rest === undefined ? undefined : hex(rest), isTooLong: false };
}

/** What is meant, said in the simplest way: one byte after the other. */
function model(bytes: Uint8Array, maxBytes = MAX) {
  const lines: string[] = [];
  let line: number[] = [];
  for (const byte of bytes) {
    if (byte === 0x0a) {
      if (line.at(-1) === 0x0d) line.pop();
      if (line.length > maxBytes) return { lines, rest: undefined, isTooLong: true };
      lines.push(hex(Uint8Array.from(line)));
      line = [];
      continue;
    }
    line.push(byte);
    const isTooLong = line.length > maxBytes + 1 || (line.length > maxBytes && byte !== 0x0d);
    if (isTooLong) return { lines, rest: undefined, isTooLong: true };
  }
  const rest = line.length === 0 ? undefined : hex(Uint8Array.from(line));
  return { lines, rest, isTooLong: false };
}

function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** Any bytes, with many ends of lines. */
const streams = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 0, max: 255 }) },
    { weight: 1, arbitrary: fc.constantFrom(0x0a, 0x0d) },
  ),
  { maxLength: 400 },
).map((bytes) => Uint8Array.from(bytes));

describe("frame()", () => {
  test("finds the same lines however the bytes are cut", () => {
    const cuts = fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 20 });
    fc.assert(
      fc.property(streams, cuts, (bytes, at) => {
        const ends = [...at, bytes.length].sort((a, b) => a - b);
        const chunks = ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
        const fed = feed(chunks);
        const meant = model(bytes);
        // Where a line is too long, a chunk that holds its end shows it no sooner than its last byte.
        expect(fed).toEqual(meant);
      }),
      { numRuns: 500 },
    );
  });

  test("finds them byte by byte too", () => {
    fc.assert(fc.property(streams, (bytes) => {
      const chunks = Array.from(bytes, (byte) => Uint8Array.of(byte));
      expect(feed(chunks)).toEqual(model(bytes));
    }));
  });

  test("keeps a copy of what has not ended", () => {
    const chunk = encoder.encode("one\ntwo");
    const { rest } = frame(undefined, chunk, MAX);
    chunk.fill(0);
    expect(new TextDecoder().decode(rest)).toBe("two");
  });

  test("takes a line of exactly the limit, with either end", () => {
    const line = "x".repeat(MAX);
    for (const end of ["\n", "\r\n"]) {
      expect(feed([encoder.encode(line + end)]).lines).toHaveLength(1);
      expect(feed([encoder.encode(`${line}x${end}`)]).isTooLong).toBe(true);
    }
    expect(feed([encoder.encode(`${line}\r`), encoder.encode("\n")]).lines).toHaveLength(1);
  });

  test("a line without end is given up at the limit, whatever comes", () => {
    const { lines, isTooLong } = feed([
      encoder.encode("well\n"),
      new Uint8Array(1 << 20).fill(0x78),
    ]);
    expect([lines.length, isTooLong]).toEqual([1, true]);
  });
});

test("textOfLine() tells UTF-8 from other bytes", () => {
  expect(textOfLine(encoder.encode("21,5 °C"))).toBe("21,5 °C");
  expect(textOfLine(Uint8Array.of(0xff, 0x00))).toBeUndefined();
});

test("problemOfLine() lets through what is one line of the size", () => {
  expect(problemOfLine("recalibrate", 11)).toBeUndefined();
  for (const text of ["", "a\nb", "a\r", "x".repeat(12), "\ud800", "°°°°°°"]) {
    expect(problemOfLine(text, 11)).toBeString();
  }
});
