/** Memory limits with real isolates: who takes too much ends, and nobody else. */
import { describe, expect, test } from "bun:test";
import type { MemoryScenario, MemorySeen } from "../support/memory_scenario.ts";
import type { Hoard } from "../support/tasks/obedient.ts";

const MIB = 2 ** 20;
const LIMIT = 300 * MIB;
const HOARDS = ["arrays", "bytes", "texts", "blobs"] as const satisfies Hoard[];
const EXCEEDED = { kind: "memory_exceeded" } as const;
const RETURNED = { kind: "returned" } as const;

async function run(scenario: Partial<MemoryScenario>): Promise<string> {
  const whole: MemoryScenario = { limitBytes: LIMIT, isolates: 2, then: [], ...scenario };
  const script = new URL("../support/memory_scenario.ts", import.meta.url).pathname;
  const child = Bun.spawn([process.execPath, script, JSON.stringify(whole)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return text;
}

async function seen(scenario: Partial<MemoryScenario>): Promise<MemorySeen> {
  return JSON.parse(await run(scenario));
}

describe.each(HOARDS)("a task that takes %s without end", (kind) => {
  test("ends with what it held, and its memory comes back", async () => {
    const { beside: [neighbour], then: [guilty, next], stats, peakBytes, afterBytes } = await seen({
      beside: [{ order: { sleep: 1_500 } }],
      then: [{ order: { hoard: kind } }, { order: { return: 1 } }],
    });
    expect(guilty).toMatchObject({ ...EXCEEDED, limitBytes: LIMIT });
    if (guilty?.kind !== "memory_exceeded") throw new Error("It did not exceed its memory");
    expect(guilty.usedBytes).toBeGreaterThan(LIMIT);
    expect(guilty.heldBytes).toBeGreaterThan(LIMIT / 2);
    expect([neighbour, next]).toMatchObject([RETURNED, RETURNED]);
    expect(stats).toMatchObject({ killed: 1, died: 0 });
    expect(peakBytes).toBeLessThan(3 * LIMIT);
    expect(afterBytes).toBeLessThan(LIMIT);
  });
});

describe("the memory limit", () => {
  test("finds who takes memory between its awaits", async () => {
    const { beside, then } = await seen({
      isolates: 3,
      beside: [{ order: { sleep: 2_000 } }, { order: { spin: true }, timeoutMs: 2_000 }],
      then: [{ order: { hoardPolitely: 4 } }],
    });
    expect(then).toMatchObject([EXCEEDED]);
    expect(beside).toMatchObject([RETURNED, { kind: "timed_out" }]);
  });

  test("tells who spins and takes memory from who only spins", async () => {
    const { beside, then } = await seen({
      beside: [{ order: { spin: true }, timeoutMs: 5_000 }],
      then: HOARDS.map((hoard) => ({ order: { hoard } })),
    });
    expect(then).toMatchObject(HOARDS.map(() => EXCEEDED));
    expect(beside).toMatchObject([{ kind: "timed_out" }]);
  });

  test("stops twenty in a row", async () => {
    const { then, stats } = await seen({
      then: Array.from({ length: 5 }, () => HOARDS.map((hoard) => ({ order: { hoard } }))).flat(),
    });
    expect(then).toMatchObject(Array(20).fill(EXCEEDED));
    expect(stats).toMatchObject({ killed: 20, died: 0, running: 0, stuck: 0 });
  });

  test("stops two at once, one after the other", async () => {
    const { beside } = await seen({
      beside: [{ order: { hoard: "bytes" } }, { order: { hoard: "arrays" } }],
    });
    expect(beside).toMatchObject([EXCEEDED, EXCEEDED]);
  });

  test("costs nobody anything for garbage, however much", async () => {
    const { beside, then, stats } = await seen({
      beside: [{ order: { sleep: 500 } }],
      then: Array.from({ length: 6 }, () => ({ order: { litter: 400 } })),
    });
    expect(then).toMatchObject(Array(6).fill(RETURNED));
    expect(beside).toMatchObject([RETURNED]);
    expect(stats.killed).toBe(0);
  });

  test("replaces an isolate in which much is left behind, before an attempt has to end", async () => {
    const { then, stats } = await seen({
      isolates: 1,
      then: Array.from({ length: 60 }, () => ({ order: { leak: 10 } })),
      pauseMs: 25,
    });
    expect(then).toMatchObject(Array(60).fill(RETURNED));
    expect(stats.recycled).toBeGreaterThan(0);
    expect(stats.killed).toBe(0);
  });

  test("ends the guilty one of several attempts in one isolate, alone", async () => {
    const { beside, then, stats } = await seen({
      isolates: 1,
      slots: 3,
      beside: [{ order: { sleep: 500 } }, { order: { sleep: 500 } }],
      then: [{ order: { hoard: "bytes" } }],
    });
    expect(then).toMatchObject([EXCEEDED]);
    expect(beside).toMatchObject([RETURNED, RETURNED]);
    expect(stats.killed).toBe(2);
  });

  test("holds for each process by itself", async () => {
    const { beside, then: [guilty] } = await seen({
      beside: [
        { order: { sleep: 1_500 }, isolation: "process" },
        { order: { sleep: 1_500 } },
      ],
      then: [{ order: { hoard: "bytes" }, isolation: "process" }],
    });
    expect(guilty).toMatchObject(EXCEEDED);
    if (guilty?.kind === "memory_exceeded") expect(guilty.heldBytes).toBe(guilty.usedBytes);
    expect(beside).toMatchObject([RETURNED, RETURNED]);
  });

  test("that the node does not fit into is refused at the start, with what it needs", async () => {
    expect(await run({ limitBytes: 20 * MIB })).toMatch(
      /"PoolStartError: Cannot keep to --max-memory 20MiB: this node needs about \d+MiB at rest, and its tasks need room: give at least \d+MiB"/,
    );
  });
});
