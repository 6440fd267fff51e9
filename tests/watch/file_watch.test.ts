/** When a change is told, with a clock and files that are made up. */
import { describe, expect, test } from "bun:test";
import { changesBetween, type FileChange, FileWatch } from "../../src/watch/file_watch.ts";
import type { Snapshot } from "../../src/watch/watched_files.ts";
import { FakeClock } from "../support/fake_clock.ts";

function watching(onChange: (changes: readonly FileChange[]) => void | Promise<void> = () => {}) {
  const clock = new FakeClock();
  const files = new Map<string, string | undefined>([["a", "1"], ["b", "1"]]);
  const told: (readonly FileChange[])[] = [];
  const watch = new FileWatch({
    clock,
    look: () => new Map(files),
    onChange: (changes) => {
      told.push(changes);
      return onChange(changes);
    },
  });
  const pass = async (durationMs: number) => {
    for (let passed = 0; passed < durationMs; passed += 10) {
      clock.advance(10);
      await Promise.resolve();
      await Promise.resolve();
    }
  };
  return { clock, files, told, watch, pass };
}

describe("a file watch", () => {
  test("tells a change well within a quarter of a second", async () => {
    const { files, told, watch, pass } = watching();
    await pass(1_000);
    files.set("a", "2");
    await pass(250);
    expect(told).toEqual([[{ path: "a", kind: "changed" }]]);
    await pass(5_000);
    expect(told).toHaveLength(1);
    watch.stop();
  });

  test("tells writes that follow each other quickly once, when they have come to rest", async () => {
    const { files, told, watch, pass } = watching();
    for (let write = 2; write < 20; write++) {
      files.set("a", `${write}`);
      await pass(40);
    }
    expect(told).toEqual([]);
    await pass(250);
    expect(told).toEqual([[{ path: "a", kind: "changed" }]]);
    watch.stop();
  });

  test("does not tell what is as it was when it has come to rest", async () => {
    const { files, told, watch, pass } = watching();
    files.delete("a");
    await pass(130);
    files.set("a", "1");
    await pass(500);
    expect(told).toEqual([]);
    watch.stop();
  });

  test("tells what changed while a change was applied once that is done", async () => {
    const gate = Promise.withResolvers<void>();
    const { files, told, watch, pass } = watching(() => gate.promise);
    files.set("a", "2");
    await pass(250);
    files.set("b", "2");
    await pass(1_000);
    expect(told).toHaveLength(1);
    gate.resolve();
    await pass(250);
    expect(told[1]).toEqual([{ path: "b", kind: "changed" }]);
    watch.stop();
  });

  test("tells nothing once it is stopped", async () => {
    const { files, told, watch, pass } = watching();
    files.set("a", "2");
    await pass(130);
    watch.stop();
    await pass(1_000);
    expect(told).toEqual([]);
  });
});

test("changesBetween() says what became of each file", () => {
  const before: Snapshot = new Map([["a", "1"], ["b", "1"], ["c", undefined], ["d", "1"], [
    "e",
    undefined,
  ]]);
  const now: Snapshot = new Map([["a", "1"], ["b", "2"], ["c", "1"], ["d", undefined], ["f", "1"]]);
  expect(changesBetween(before, now)).toEqual([
    { path: "b", kind: "changed" },
    { path: "c", kind: "added" },
    { path: "f", kind: "added" },
    { path: "d", kind: "removed" },
  ]);
});
