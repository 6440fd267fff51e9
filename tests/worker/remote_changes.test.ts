/** What remote control changes of a worker: limits of its tasks, and how many attempts run at once. */
import { describe, expect, test } from "bun:test";
import { TaskLimits } from "../../src/worker/task_limits.ts";
import { WorkerRoom } from "../../src/worker/worker_room.ts";

describe("TaskLimits", () => {
  const task = {
    name: "t",
    file: "t.ts",
    queue: "q",
    timeoutMs: 5_000,
    softTimeoutMs: 4_000,
    isolation: "worker",
  } as const;

  test("sets limits, tells of it, and goes back to what the task file says", () => {
    let changes = 0;
    const limits = new TaskLimits([task, { ...task, name: "u" }], () => changes++);
    expect(limits.set("t", { hardMs: 9_000, softMs: 8_000 })).toBe(true);
    expect(limits.byName.get("t")).toEqual({ ...task, timeoutMs: 9_000, softTimeoutMs: 8_000 });
    expect(limits.present([task])).toEqual([
      { ...task, timeoutMs: 9_000, softTimeoutMs: 8_000 },
    ]);
    expect(limits.tasks.map(({ timeoutMs }) => timeoutMs)).toEqual([9_000, 5_000]);
    expect(limits.set("t", {})).toBe(true);
    expect(limits.byName.get("t")).toEqual(task);
    expect(limits.set("none", { hardMs: 1 })).toBe(false);
    expect(changes).toBe(2);
  });
});

describe("WorkerRoom", () => {
  test("moves slots with isolates, within bounds", () => {
    const applied: unknown[] = [];
    const room = new WorkerRoom(
      { isolates: 2, slots: 6 },
      (...numbers) => applied.push(numbers),
    );
    expect(room.resize(1)).toBeUndefined();
    expect(room.slots).toBe(9);
    expect(room.resize(-2)).toBeUndefined();
    expect(room.resize(-1)).toContain("too few");
    expect(room.resize(1_024)).toContain("too many");
    expect(room.slots).toBe(3);
    expect(applied).toEqual([[3, 9], [1, 3]]);
  });
});
