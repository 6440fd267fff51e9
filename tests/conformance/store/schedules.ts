/** Schedules: announced again and again, fired once. */
import { expect } from "bun:test";
import type { AnnouncedSchedule } from "../../../src/store/store.ts";
import { Life, START } from "../../jobs/job_lives.ts";
import type { StoreHarness } from "./harness.ts";
import { beginningOf, type SceneTest } from "./scene.ts";

const EVERY = { kind: "every", everyMs: 1_000 } as const;

function schedule(changes: Partial<AnnouncedSchedule> = {}): AnnouncedSchedule {
  return {
    name: "tidy",
    spec: EVERY,
    task: "demo.tidy",
    input: "[1]",
    file: "tasks.ts",
    announcedAt: START,
    nextAt: START + 1_000,
    ...changes,
  };
}

export function schedules(it: SceneTest, harness: StoreHarness): void {
  it("enters what is announced, sorted by name", async (scene) => {
    const store = await scene.open();
    const cron = { kind: "cron", expression: "0 3 * * *", timeZone: "Europe/Berlin" } as const;
    const { nextAt: _none, ...never } = schedule({ name: "b", input: "" });
    await store.announceSchedules([never, schedule({ name: "a", spec: cron })]);
    expect(await store.schedules()).toEqual([
      { ...schedule({ name: "a", spec: cron }), isPaused: false },
      { ...never, isPaused: false },
    ]);
    await store.announceSchedules([]);
  });

  it("an announcement renews it, and keeps its next instant unless its rhythm changes", async (scene) => {
    const store = await scene.open();
    await store.announceSchedules([schedule()]);
    await store.announceSchedules([
      schedule({ announcedAt: START + 500, nextAt: START + 9_000, input: "[2]" }),
    ]);
    expect(await store.schedules()).toMatchObject([
      { announcedAt: START + 500, nextAt: START + 1_000, input: "[2]" },
    ]);
    const spec = { kind: "every", everyMs: 2_000 } as const;
    await store.announceSchedules([
      schedule({ announcedAt: START + 600, nextAt: START + 2_000, spec }),
    ]);
    expect(await store.schedules()).toMatchObject([{ nextAt: START + 2_000, spec }]);
    await store.announceSchedules([schedule({ announcedAt: START + 100, input: "[3]" })]);
    expect(await store.schedules()).toMatchObject([{ input: "[1]", spec }]);
  });

  it("fires once, and makes its job with it", async (scene) => {
    const store = await scene.open();
    await store.announceSchedules([schedule()]);
    const life = new Life().scheduled(START + 1_000);
    const fire = (dueAt: number) =>
      store.fireSchedule("tidy", dueAt, START + 2_000, beginningOf(life));
    expect(await fire(START + 999)).toBe(false);
    expect(await store.get(life.id)).toBeUndefined();
    expect(await fire(START + 1_000)).toBe(true);
    expect(await fire(START + 1_000)).toBe(false);
    expect(await store.get(life.id)).toMatchObject({ state: "scheduled" });
    expect(await store.schedules()).toMatchObject([
      { lastFiredAt: START + 1_000, nextAt: START + 2_000, lastJobId: life.id },
    ]);
    expect(await store.fireSchedule("other", START, undefined, undefined)).toBe(false);
  });

  it("fires for the last time, and without a job", async (scene) => {
    const store = await scene.open();
    await store.announceSchedules([schedule()]);
    expect(await store.fireSchedule("tidy", START + 1_000, undefined, undefined)).toBe(true);
    const [after] = await store.schedules();
    expect(after).toMatchObject({ lastFiredAt: START + 1_000 });
    expect(after?.nextAt).toBeUndefined();
    expect(after?.lastJobId).toBeUndefined();
  });

  it("of many who fire it at the same time one does", async (scene) => {
    const stores = [await scene.open()];
    if (harness.isShared) stores.push(await scene.open());
    await stores[0]?.announceSchedules([schedule()]);
    const fired = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        stores[n % stores.length]?.fireSchedule(
          "tidy",
          START + 1_000,
          START + 2_000,
          beginningOf(new Life().scheduled(START + 1_000)),
        )),
    );
    expect(fired.filter(Boolean)).toHaveLength(1);
    expect((await stores[0]?.stats())?.byState.scheduled).toBe(1);
  });

  it("does not fire while it is paused", async (scene) => {
    const store = await scene.open();
    await store.announceSchedules([schedule()]);
    expect(await store.pauseSchedule("tidy", true, undefined)).toBe(true);
    await store.announceSchedules([schedule({ announcedAt: START + 1 })]);
    expect(await store.fireSchedule("tidy", START + 1_000, START + 2_000, undefined)).toBe(false);
    expect(await store.schedules()).toMatchObject([{ isPaused: true }]);
    expect(await store.pauseSchedule("tidy", false, START + 8_000)).toBe(true);
    expect(await store.schedules()).toMatchObject([{ isPaused: false, nextAt: START + 8_000 }]);
    expect(await store.fireSchedule("tidy", START + 8_000, START + 9_000, undefined)).toBe(true);
    expect(await store.pauseSchedule("other", true, undefined)).toBe(false);
  });

  it("goes when it is deleted", async (scene) => {
    const store = await scene.open();
    await store.announceSchedules([schedule()]);
    expect(await store.deleteSchedule("tidy")).toBe(true);
    expect(await store.deleteSchedule("tidy")).toBe(false);
    expect(await store.schedules()).toEqual([]);
  });
}
