/** Before, while and after a store is open. */
import { expect } from "bun:test";
import { StoreAwayError } from "../../../src/store/errors.ts";
import type { Store } from "../../../src/store/store.ts";
import { Life } from "../../jobs/job_lives.ts";
import { record, type SceneTest } from "./scene.ts";

const OPERATIONS: Readonly<Record<string, (store: Store) => Promise<unknown>>> = {
  ping: (store) => store.ping(),
  recordEvents: (store) => store.recordEvents(new Life().accepted().events),
  get: (store) => store.get("x"),
  list: (store) => store.list({}, 1),
  due: (store) => store.due(0, 1),
  schedules: (store) => store.schedules(),
  acquireLease: (store) => store.acquireLease("a", "b", 1),
  recordDevices: (store) => store.recordDevices([]),
  devices: (store) => store.devices(undefined, 1),
  stats: (store) => store.stats(),
};

export function life(it: SceneTest): void {
  it("is away before it is opened and after it is closed", async (scene) => {
    const store = scene.create();
    for (const run of Object.values(OPERATIONS)) {
      expect(await rejection(run(store))).toBeInstanceOf(StoreAwayError);
    }
    await store.open();
    for (const run of Object.values(OPERATIONS)) await run(store);
    await store.close();
    for (const run of Object.values(OPERATIONS)) {
      expect(await rejection(run(store))).toBeInstanceOf(StoreAwayError);
    }
    expect(await rejection(store.open())).toBeInstanceOf(StoreAwayError);
  });

  it("may be opened and closed twice, and closed unopened", async (scene) => {
    const store = scene.create();
    await Promise.all([store.open(), store.open()]);
    await store.open();
    await store.ping();
    await Promise.all([store.close(), store.close()]);
    await scene.create().close();
  });

  it("keeps everything over a close", async (scene) => {
    const before = await scene.open();
    const job = new Life().accepted().started().outcome();
    await record(before, job, new Life().accepted());
    await before.close();
    const after = await scene.open();
    expect(await after.get(job.id)).toMatchObject({ state: "succeeded", resultJson: "2" });
    expect((await after.stats()).byState).toMatchObject({ succeeded: 1, queued: 1, failed: 0 });
  });

  it("finishes what is under way when it is closed", async (scene) => {
    const store = await scene.open();
    const job = new Life().accepted();
    const recorded = record(store, job);
    await store.close();
    await recorded;
    expect(await (await scene.open()).get(job.id)).toMatchObject({ state: "queued" });
  });

  it("tells where it is without a password", async (scene) => {
    const store = await scene.open();
    expect(store.place).not.toBe("");
    expect(store.place).not.toContain("secret");
  });
}

export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("It was expected to fail and did not");
}
