/** Devices: changes in any order, any number of times, and what is there in the end. */
import { expect } from "bun:test";
import fc from "fast-check";
import type { DeviceChange, DeviceState } from "../../../src/store/device_store.ts";
import { BadCursorError, type Store } from "../../../src/store/store.ts";
import { rejection } from "./life.ts";
import type { StoreHarness } from "./harness.ts";
import { ids, type SceneTest } from "./scene.ts";

const START = Date.UTC(2026, 0, 1);

/** A connection's change: its epoch is the second in which it began. */
function change(
  id: string,
  epoch: number,
  state: DeviceState,
  further: Partial<DeviceChange> = {},
): DeviceChange {
  const connectedAt = START + epoch * 1_000;
  return {
    id,
    state,
    node: "a",
    address: "10.0.0.7:5000",
    epoch,
    revision: 0,
    connectedAt,
    lastSeenAt: connectedAt + 10,
    at: state === "online" ? connectedAt : connectedAt + 500,
    ...(state === "offline" ? { reason: "closed" } : {}),
    ...further,
  };
}

async function idsOf(store: Store, state?: DeviceState): Promise<readonly string[]> {
  return ids((await store.devices(state, 100)).devices);
}

export function devices(it: SceneTest, harness: StoreHarness): void {
  it("keeps a device as its last change says, and all of its changes", async (scene) => {
    const store = await scene.open();
    const [on, off, again] = [
      change("d", 1, "online"),
      change("d", 1, "offline"),
      change("d", 2, "online", { node: "b" }),
    ];
    await store.recordDevices([on]);
    expect(await store.device("d")).toEqual(on);
    await store.recordDevices([off]);
    expect(await store.device("d")).toEqual(off);
    await store.recordDevices([again]);
    expect(await store.device("d")).toEqual(again);
    expect(await store.deviceHistory("d", 10)).toEqual({ devices: [again, off, on] });
    expect(await store.device("e")).toBeUndefined();
    expect(await store.deviceHistory("e", 10)).toEqual({ devices: [] });
    await store.recordDevices([]);
  });

  it("a late offline of an older connection undoes nothing", async (scene) => {
    const store = await scene.open();
    const moved = change("d", 2, "online", { node: "b" });
    await store.recordDevices([change("d", 1, "online"), moved]);
    await store.recordDevices([change("d", 1, "offline", { at: START + 60_000 })]);
    expect(await store.device("d")).toEqual(moved);
    expect(ids((await store.deviceHistory("d", 10)).devices)).toHaveLength(3);
  });

  it("an offline that overtakes its online stands", async (scene) => {
    const store = await scene.open();
    await store.recordDevices([change("d", 1, "offline")]);
    await store.recordDevices([change("d", 1, "online")]);
    expect(await store.device("d")).toMatchObject({ state: "offline", reason: "closed" });
  });

  it("a connection that was taken for lost is online again when it says so", async (scene) => {
    const store = await scene.open();
    const back = change("d", 1, "online", { revision: 1, at: START + 9_000 });
    await store.recordDevices([change("d", 1, "online"), change("d", 1, "offline")]);
    await store.recordDevices([back]);
    expect(await store.device("d")).toEqual(back);
    await store.recordDevices([change("d", 1, "offline", { at: START + 99_000 })]);
    expect(await store.device("d")).toEqual(back);
  });

  it("is the same whatever the order, the batches and the repetitions", async (scene) => {
    const store = await scene.open();
    const all = [1, 2, 3].flatMap((epoch) =>
      [0, 1].flatMap((revision) => [
        change("", epoch, "online", { revision, node: `n${epoch}` }),
        change("", epoch, "offline", { revision, node: `n${epoch}` }),
      ])
    );
    let devices = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([...all, ...all], { minLength: all.length * 2 }),
        fc.integer({ min: 1, max: 9 }),
        async (told, size) => {
          const id = `d${devices++}`;
          for (let start = 0; start < told.length; start += size) {
            await store.recordDevices(
              told.slice(start, start + size).map((one) => ({ ...one, id })),
            );
          }
          expect(await store.device(id)).toEqual({
            ...change(id, 3, "offline"),
            revision: 1,
            node: "n3",
          });
          expect((await store.deviceHistory(id, 100)).devices)
            .toEqual(all.toReversed().map((one) => ({ ...one, id })));
        },
      ),
      { numRuns: 15 },
    );
  });

  it("lists devices by state, page by page", async (scene) => {
    const store = await scene.open();
    const numbered = Array.from({ length: 7 }, (_, n) => `d${n}`);
    await store.recordDevices(numbered.map((id) => change(id, 1, "online")));
    await store.recordDevices([change("d1", 1, "offline"), change("d3", 1, "offline")]);
    expect(await idsOf(store)).toEqual(numbered);
    expect(await idsOf(store, "offline")).toEqual(["d1", "d3"]);
    expect(await idsOf(store, "online")).toEqual(["d0", "d2", "d4", "d5", "d6"]);
    const first = await store.devices("online", 3);
    expect(ids(first.devices)).toEqual(["d0", "d2", "d4"]);
    const second = await store.devices("online", 3, first.cursor);
    expect(ids(second.devices)).toEqual(["d5", "d6"]);
    expect(second.cursor).toBeUndefined();
    for (const cursor of ["", "x", Buffer.from("[1]").toString("base64url")]) {
      expect(await rejection(store.devices(undefined, 3, cursor))).toBeInstanceOf(BadCursorError);
    }
  });

  it("tells a history page by page, the last change first", async (scene) => {
    const store = await scene.open();
    const told = [1, 2, 3].flatMap((epoch) => [
      change("d", epoch, "online"),
      change("d", epoch, "offline"),
    ]);
    await store.recordDevices([...told, change("e", 9, "online")]);
    const pages: DeviceChange[][] = [];
    for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
      const page = await store.deviceHistory("d", 4, cursor);
      pages.push([...page.devices]);
      cursor = page.cursor;
    }
    expect(pages.map(({ length }) => length)).toEqual([4, 2]);
    expect(pages.flat()).toEqual(told.toReversed());
    const { cursor } = await store.devices(undefined, 1);
    expect(await rejection(store.deviceHistory("d", 4, cursor))).toBeInstanceOf(BadCursorError);
  });

  it("keeps ids and addresses of any characters", async (scene) => {
    const store = await scene.open();
    const odd = change("[::1]:80 ü 😀 '%_\\", 1, "offline", { reason: "it's gone" });
    await store.recordDevices([odd]);
    expect(await store.device(odd.id)).toEqual(odd);
    expect(await store.devices("offline", 10)).toEqual({ devices: [odd] });
  });

  it("sets what a lost node holds offline, bite by bite, and nothing else", async (scene) => {
    const store = await scene.open();
    const held = ["d1", "d2", "d3"].map((id) => change(id, 1, "online"));
    const other = change("d4", 1, "online", { node: "b" });
    const gone = change("d5", 1, "offline", { at: START + 1 });
    await store.recordDevices([...held, other, gone]);
    expect(await store.holdingNodes()).toEqual([
      { node: "a", since: START + 1_000 },
      { node: "b", since: START + 1_000 },
    ]);
    const lost = { node: "a", at: START + 5_000, reason: "node-gone" };
    const first = await store.loseDevices(lost, 2);
    expect(first).toHaveLength(2);
    const second = await store.loseDevices(lost, 2);
    expect([...first, ...second].toSorted((a, b) => a.id < b.id ? -1 : 1)).toEqual(
      held.map((one) => ({ ...one, state: "offline", at: START + 5_000, reason: "node-gone" })),
    );
    expect(await store.loseDevices(lost, 2)).toEqual([]);
    expect(await idsOf(store, "online")).toEqual(["d4"]);
    expect(await store.device("d5")).toEqual(gone);
    expect(await store.holdingNodes()).toEqual([{ node: "b", since: START + 1_000 }]);
    expect((await store.deviceHistory("d1", 9)).devices.map(({ state }) => state))
      .toEqual(["offline", "online"]);
    // The same news by way of the broker.
    await store.recordDevices(first);
    expect((await store.deviceHistory("d1", 9)).devices).toHaveLength(2);
  });

  it("spares connections from after a lost node's next start", async (scene) => {
    const store = await scene.open();
    const [before, after] = [change("d1", 1, "online"), change("d2", 5, "online")];
    await store.recordDevices([before, after]);
    const lost = {
      node: "a",
      connectedBefore: START + 5_000,
      at: START + 6_000,
      reason: "restart",
    };
    expect(ids(await store.loseDevices(lost, 10))).toEqual(["d1"]);
    expect(await store.device("d2")).toEqual(after);
  });

  it("forgets old changes, and devices that are offline since then", async (scene) => {
    const store = await scene.open();
    await store.recordDevices([
      change("stays", 1, "online"),
      change("goes", 1, "online"),
      change("goes", 1, "offline"),
      change("young", 1, "online"),
      change("young", 9, "offline"),
    ]);
    const before = START + 5_000;
    expect(await store.deleteOldDevices(before, 3)).toBe(3);
    expect(await store.deleteOldDevices(before, 3)).toBe(2);
    expect(await store.deleteOldDevices(before, 3)).toBe(0);
    expect(await idsOf(store)).toEqual(["stays", "young"]);
    expect(await store.deviceHistory("stays", 9)).toEqual({ devices: [] });
    expect((await store.deviceHistory("young", 9)).devices).toHaveLength(1);
  });

  it("two who record at the same time lose nothing", async (scene) => {
    const stores = [await scene.open()];
    if (harness.isShared) stores.push(await scene.open());
    await Promise.all(Array.from({ length: 12 }, (_, n) => {
      const told = Array.from(
        { length: 20 },
        (_, id) => change(`d${(id * 7 + n) % 20}`, n, "online"),
      );
      return stores[n % stores.length]?.recordDevices(told);
    }));
    const { devices } = await (stores[0] ?? await scene.open()).devices("online", 100);
    expect(devices.map(({ epoch }) => epoch)).toEqual(Array.from({ length: 20 }, () => 11));
  });
}
