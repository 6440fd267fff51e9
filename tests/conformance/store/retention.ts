/** What goes, and what stays. */
import { expect } from "bun:test";
import { Life, START } from "../../jobs/job_lives.ts";
import { ids, record, type SceneTest } from "./scene.ts";

const LATER = START + 1_000_000;
const OLD = { finishedBefore: LATER, deadLetteredBefore: 0, cancelledBefore: 0 };

export function retention(it: SceneTest): void {
  it("deletes finished jobs that are old enough, the oldest first, in bites", async (scene) => {
    const store = await scene.open();
    const lives = [3, 1, 2, 4].map((n) =>
      new Life({ id: `job-${n}`, at: START + n * 1_000 }).accepted().outcome()
    );
    const unfinished = new Life().accepted().started();
    await record(store, ...lives, unfinished);
    const retention = { ...OLD, finishedBefore: lives[3]?.at ?? 0 };
    expect(await store.deleteOld(retention, 0, 2)).toBe(2);
    expect(ids((await store.list({ states: ["succeeded"] }, 10)).jobs)).toEqual(["job-4", "job-3"]);
    expect(await store.deleteOld(retention, 0, 2)).toBe(1);
    expect(await store.deleteOld(retention, 0, 2)).toBe(0);
    expect(await store.get("job-3")).toBeUndefined();
    expect(await store.get("job-4")).toMatchObject({ payload: { input: { argsJson: "[1]" } } });
    expect(await store.get(unfinished.id)).toBeDefined();
    expect((await store.stats()).byState).toMatchObject({ succeeded: 1, running: 1 });
  });

  it("keeps dead letters for as long as it is told", async (scene) => {
    const store = await scene.open();
    const dead = new Life().accepted().started().deadLettered();
    await record(store, dead);
    expect(await store.deleteOld(OLD, 0, 10)).toBe(0);
    expect(await store.deleteOld({ ...OLD, deadLetteredBefore: dead.at }, 0, 10)).toBe(0);
    expect(await store.deleteOld({ ...OLD, deadLetteredBefore: LATER }, 0, 10)).toBe(1);
    expect((await store.stats()).deadLetters).toBe(0);
  });

  it("keeps a cancelled job that a worker may yet take", async (scene) => {
    const store = await scene.open();
    const waits = new Life().accepted().cancelRequested();
    const settled = new Life().accepted().cancelRequested().outcome({ kind: "cancelled" });
    await record(store, waits, settled);
    expect(await store.deleteOld(OLD, 0, 10)).toBe(1);
    expect(await store.get(waits.id)).toBeDefined();
    expect(await store.deleteOld({ ...OLD, cancelledBefore: LATER }, 0, 10)).toBe(1);
    expect(await store.cancelledIds(0)).toEqual([]);
  });

  it("deletes finished jobs by id, and no others", async (scene) => {
    const store = await scene.open();
    const [dead, running] = [
      new Life().accepted().deadLettered(),
      new Life().accepted().started(),
    ];
    await record(store, dead, running);
    expect(await store.deleteFinished([dead.id, running.id, "not there", dead.id])).toBe(1);
    expect(await store.deleteFinished([])).toBe(0);
    expect(await store.get(dead.id)).toBeUndefined();
    expect(await store.get(running.id)).toBeDefined();
    // Whoever comes back with the same id begins anew.
    await record(store, dead);
    expect(await store.get(dead.id)).toMatchObject({ state: "failed" });
  });
}
