/** What the system and the runtime tell of memory. Linux, for what is read from /proc. */
import { expect, test } from "bun:test";
import {
  currentThread,
  heapBytes,
  memoryBytesOf,
  ownMemoryBytes,
  pageFaultsOf,
} from "../../src/platform/memory.ts";

const MIB = 2 ** 20;

test("heapBytes() counts what JavaScript holds, typed arrays and texts too, at once", () => {
  // What earlier tests left would otherwise be collected in between.
  Bun.gc(true);
  const before = heapBytes();
  const kept: unknown[] = [];
  for (let count = 0; count < 50; count++) kept.push(new Uint8Array(MIB).fill(1));
  const withBytes = heapBytes();
  expect(withBytes - before).toBeGreaterThan(45 * MIB);
  kept.push("x".repeat(20 * MIB).split("").join("y"));
  expect(heapBytes() - withBytes).toBeGreaterThan(15 * MIB);
  expect(kept).toHaveLength(51);
});

test("ownMemoryBytes() and memoryBytesOf() tell the same of this process", () => {
  const own = ownMemoryBytes();
  const told = memoryBytesOf(process.pid) ?? 0;
  expect(Math.abs(own - told)).toBeLessThan(16 * MIB);
});

test("memoryBytesOf() knows nothing of a process that has ended", () => {
  const { pid } = Bun.spawnSync(["true"]);
  expect(memoryBytesOf(pid)).toBeUndefined();
});

test("pageFaultsOf() grows with the memory that a thread takes", () => {
  const thread = currentThread();
  if (thread === undefined) throw new Error("There is no /proc");
  const before = pageFaultsOf(thread) ?? 0;
  const kept = new Uint8Array(64 * MIB).fill(1);
  // 16,384 pages of 4 KiB; fewer where the system gives larger ones.
  expect((pageFaultsOf(thread) ?? 0) - before).toBeGreaterThan(16);
  expect(kept).toHaveLength(64 * MIB);
  expect(pageFaultsOf(2 ** 22 + 1)).toBeUndefined();
});
