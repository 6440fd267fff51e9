/** Gathering writes: every byte once, in order, in few pieces, whatever their sizes. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Outbox } from "../../../src/broker/amqp/outbox.ts";

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A socket that keeps what it is given as it was, and takes it later. */
function socket() {
  const chunks: { readonly chunk: Uint8Array; readonly done: () => void }[] = [];
  const outbox = new Outbox((chunk, done) => chunks.push({ chunk, done }));
  return { chunks, outbox, sent: () => Buffer.concat(chunks.map(({ chunk }) => chunk)) };
}

test("what one turn sends goes out in one piece", async () => {
  const { chunks, outbox } = socket();
  for (let times = 0; times < 100; times++) outbox.room(21).fill(times);
  expect(chunks.length).toBe(0);
  await turn();
  expect(chunks.length).toBe(1);
  expect(chunks[0]?.chunk.length).toBe(2_100);
});

test("every byte goes out once and in order, and is not touched afterwards", async () => {
  const writes = fc.array(
    fc.record({
      size: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 200_000 })),
      flushes: fc.boolean(),
    }),
    { maxLength: 30 },
  );
  await fc.assert(
    fc.asyncProperty(writes, async (list) => {
      const { outbox, sent } = socket();
      const expected: number[] = [];
      list.forEach(({ size, flushes }, index) => {
        outbox.room(size).fill(index + 1);
        expected.push(size);
        if (flushes) outbox.flush();
      });
      await turn();
      const bytes = sent();
      expect(bytes.length).toBe(expected.reduce((sum, size) => sum + size, 0));
      let at = 0;
      expected.forEach((size, index) => {
        expect(bytes.subarray(at, at + size).every((byte) => byte === index + 1)).toBe(true);
        at += size;
      });
      expect(outbox.totalBytes).toBe(bytes.length);
    }),
    { numRuns: 50 },
  );
});

test("the backlog is what was not taken yet", async () => {
  const { chunks, outbox } = socket();
  outbox.room(10).fill(1);
  expect(outbox.backlogBytes).toBe(10);
  await turn();
  expect(outbox.backlogBytes).toBe(10);
  chunks[0]?.done();
  expect(outbox.backlogBytes).toBe(0);
});

test("much goes out before the turn is over", async () => {
  const { chunks, outbox } = socket();
  for (let times = 0; times < 10; times++) {
    outbox.room(100_000).fill(1);
    await Promise.resolve();
  }
  expect(chunks.length).toBeGreaterThan(0);
  await turn();
  expect(outbox.totalBytes).toBe(1_000_000);
});
