/** Devices: changes in any order, any number of times, and what is there in the end. */
import { expect } from "bun:test";
import fc from "fast-check";
import type { DeviceStatus } from "../../../src/devices/device_status.ts";
import type { DeviceState, DeviceStatusPage } from "../../../src/store/device_store.ts";
import { BadCursorError, type Store } from "../../../src/store/store.ts";
import { rejection } from "./life.ts";
import type { StoreHarness } from "./harness.ts";
import type { SceneTest } from "./scene.ts";

const START = Date.UTC(2026, 0, 1);

const BOOT = new Date(START - 60_000).toISOString();

/** A status of a connection: its epoch is the second in which it began. */
function told(
  device: string,
  epoch: number,
  change: DeviceState,
  further: Partial<DeviceStatus> = {},
): DeviceStatus {
  const connectedAt = START + epoch * 1_000;
  return {
    device,
    change,
    node: "a",
    nodeStartedAt: BOOT,
    address: "10.0.0.7:5000",
    epoch,
    connectedAt,
    lastSeenAt: connectedAt + 10,
    at: change === "online" ? connectedAt : connectedAt + 500,
    ...(change === "offline" ? { reason: "closed" as const } : {}),
    ...further,
  };
}

function ids({ statuses }: DeviceStatusPage): readonly string[] {
  return statuses.map(({ device }) => device);
}

async function idsOf(store: Store, state?: DeviceState): Promise<readonly string[]> {
  return ids(await store.devices(state, 100));
}

function again(revision: number): Pick<DeviceStatus, "revision"> {
  return revision === 0 ? {} : { revision };
}

export function devices(it: SceneTest, harness: StoreHarness): void {
  it("keeps a device as its last change says, and all of its changes", async (scene) => {
    const store = await scene.open();
    const [on, off, again] = [
      told("d", 1, "online"),
      told("d", 1, "offline"),
      told("d", 2, "online", { node: "b" }),
    ];
    await store.recordDevices([on]);
    expect(await store.device("d")).toEqual(on);
    await store.recordDevices([off]);
    expect(await store.device("d")).toEqual(off);
    await store.recordDevices([again]);
    expect(await store.device("d")).toEqual(again);
    expect(await store.deviceHistory("d", 10)).toEqual({ statuses: [again, off, on] });
    expect(await store.device("e")).toBeUndefined();
    expect(await store.deviceHistory("e", 10)).toEqual({ statuses: [] });
    await store.recordDevices([]);
  });

  it("a late offline of an older connection undoes nothing", async (scene) => {
    const store = await scene.open();
    const moved = told("d", 2, "online", { node: "b" });
    await store.recordDevices([told("d", 1, "online"), moved]);
    await store.recordDevices([told("d", 1, "offline", { at: START + 60_000 })]);
    expect(await store.device("d")).toEqual(moved);
    expect(ids(await store.deviceHistory("d", 10))).toHaveLength(3);
  });

  it("an offline that overtakes its online stands", async (scene) => {
    const store = await scene.open();
    await store.recordDevices([told("d", 1, "offline")]);
    await store.recordDevices([told("d", 1, "online")]);
    expect(await store.device("d")).toMatchObject({ change: "offline", reason: "closed" });
  });

  it("a connection that was taken for lost is online again when it says so", async (scene) => {
    const store = await scene.open();
    const back = told("d", 1, "online", { revision: 1, at: START + 9_000 });
    await store.recordDevices([told("d", 1, "online"), told("d", 1, "offline")]);
    await store.recordDevices([back]);
    expect(await store.device("d")).toEqual(back);
    await store.recordDevices([told("d", 1, "offline", { at: START + 99_000 })]);
    expect(await store.device("d")).toEqual(back);
  });

  it("is the same whatever the order, the batches and the repetitions", async (scene) => {
    const store = await scene.open();
    const all = [1, 2, 3].flatMap((epoch) =>
      [0, 1].flatMap((revision) => [
        told("", epoch, "online", { ...again(revision), node: `n${epoch}` }),
        told("", epoch, "offline", { ...again(revision), node: `n${epoch}` }),
      ])
    );
    let devices = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray([...all, ...all], { minLength: all.length * 2 }),
        fc.integer({ min: 1, max: 9 }),
        async (shuffled, size) => {
          const id = `d${devices++}`;
          for (let start = 0; start < shuffled.length; start += size) {
            await store.recordDevices(
              shuffled.slice(start, start + size).map((one) => ({ ...one, device: id })),
            );
          }
          expect(await store.device(id)).toEqual({
            ...told(id, 3, "offline"),
            revision: 1,
            node: "n3",
          });
          expect((await store.deviceHistory(id, 100)).statuses)
            .toEqual(all.toReversed().map((one) => ({ ...one, device: id })));
        },
      ),
      { numRuns: 15 },
    );
  });

  it("lists devices by state, page by page", async (scene) => {
    const store = await scene.open();
    const numbered = Array.from({ length: 7 }, (_, n) => `d${n}`);
    await store.recordDevices(numbered.map((id) => told(id, 1, "online")));
    await store.recordDevices([told("d1", 1, "offline"), told("d3", 1, "offline")]);
    expect(await idsOf(store)).toEqual(numbered);
    expect(await idsOf(store, "offline")).toEqual(["d1", "d3"]);
    expect(await idsOf(store, "online")).toEqual(["d0", "d2", "d4", "d5", "d6"]);
    const first = await store.devices("online", 3);
    expect(ids(first)).toEqual(["d0", "d2", "d4"]);
    const second = await store.devices("online", 3, first.cursor);
    expect(ids(second)).toEqual(["d5", "d6"]);
    expect(second.cursor).toBeUndefined();
    for (const cursor of ["", "x", Buffer.from("[1]").toString("base64url")]) {
      expect(await rejection(store.devices(undefined, 3, cursor))).toBeInstanceOf(BadCursorError);
    }
  });

  it("tells a history page by page, the last change first", async (scene) => {
    const store = await scene.open();
    const all = [1, 2, 3].flatMap((epoch) => [
      told("d", epoch, "online"),
      told("d", epoch, "offline"),
    ]);
    await store.recordDevices([...all, told("e", 9, "online")]);
    const pages: DeviceStatus[][] = [];
    for (let cursor: string | undefined, more = true; more; more = cursor !== undefined) {
      const page = await store.deviceHistory("d", 4, cursor);
      pages.push([...page.statuses]);
      cursor = page.cursor;
    }
    expect(pages.map(({ length }) => length)).toEqual([4, 2]);
    expect(pages.flat()).toEqual(all.toReversed());
    const { cursor } = await store.devices(undefined, 1);
    expect(await rejection(store.deviceHistory("d", 4, cursor))).toBeInstanceOf(BadCursorError);
  });

  it("keeps ids and addresses of any characters", async (scene) => {
    const store = await scene.open();
    const odd = told("[::1]:80 ü 😀 '%_\\", 1, "offline", { reason: "lost" });
    await store.recordDevices([odd]);
    expect(await store.device(odd.device)).toEqual(odd);
    expect(await store.devices("offline", 10)).toEqual({ statuses: [odd] });
  });

  it("sets what a lost node holds offline, bite by bite, and nothing else", async (scene) => {
    const store = await scene.open();
    const held = ["d1", "d2", "d3"].map((id) => told(id, 1, "online"));
    const other = told("d4", 1, "online", { node: "b" });
    const gone = told("d5", 1, "offline", { at: START + 1 });
    await store.recordDevices([...held, other, gone]);
    expect(await store.holdingNodes()).toEqual([
      { node: "a", nodeStartedAt: BOOT },
      { node: "b", nodeStartedAt: BOOT },
    ]);
    const lost = {
      node: "a",
      nodeStartedAt: BOOT,
      at: START + 5_000,
      reason: "node-gone",
    } as const;
    const first = await store.loseDevices(lost, 2);
    expect(first).toHaveLength(2);
    const second = await store.loseDevices(lost, 2);
    expect([...first, ...second].toSorted((a, b) => a.device < b.device ? -1 : 1)).toEqual(
      held.map((one) => ({ ...one, change: "offline", at: START + 5_000, reason: "node-gone" })),
    );
    expect(await store.loseDevices(lost, 2)).toEqual([]);
    expect(await idsOf(store, "online")).toEqual(["d4"]);
    expect(await store.device("d5")).toEqual(gone);
    expect(await store.holdingNodes()).toEqual([{ node: "b", nodeStartedAt: BOOT }]);
    expect((await store.deviceHistory("d1", 9)).statuses.map(({ change }) => change))
      .toEqual(["offline", "online"]);
    // The same news by way of the broker.
    await store.recordDevices(first);
    expect((await store.deviceHistory("d1", 9)).statuses).toHaveLength(2);
  });

  it("spares connections of a lost node's next start", async (scene) => {
    const store = await scene.open();
    const nodeStartedAt = new Date(START + 3_000).toISOString();
    const [before, after] = [told("d1", 1, "online"), told("d2", 5, "online", { nodeStartedAt })];
    await store.recordDevices([before, after]);
    expect(await store.holdingNodes()).toEqual([
      { node: "a", nodeStartedAt: BOOT },
      { node: "a", nodeStartedAt },
    ]);
    const at = START + 6_000;
    const lost = { node: "a", nodeStartedAt: BOOT, at, reason: "node-gone" } as const;
    expect((await store.loseDevices(lost, 10)).map(({ device }) => device)).toEqual(["d1"]);
    expect(await store.device("d2")).toEqual(after);
  });

  it("forgets old changes, and devices that are offline since then", async (scene) => {
    const store = await scene.open();
    await store.recordDevices([
      told("stays", 1, "online"),
      told("goes", 1, "online"),
      told("goes", 1, "offline"),
      told("young", 1, "online"),
      told("young", 9, "offline"),
    ]);
    const before = START + 5_000;
    expect(await store.deleteOldDevices(before, 3)).toBe(3);
    expect(await store.deleteOldDevices(before, 3)).toBe(2);
    expect(await store.deleteOldDevices(before, 3)).toBe(0);
    expect(await idsOf(store)).toEqual(["stays", "young"]);
    expect(await store.deviceHistory("stays", 9)).toEqual({ statuses: [] });
    expect((await store.deviceHistory("young", 9)).statuses).toHaveLength(1);
  });

  it("two who record at the same time lose nothing", async (scene) => {
    const stores = [await scene.open()];
    if (harness.isShared) stores.push(await scene.open());
    await Promise.all(Array.from({ length: 12 }, (_, n) => {
      const batch = Array.from(
        { length: 20 },
        (_, id) => told(`d${(id * 7 + n) % 20}`, n, "online"),
      );
      return stores[n % stores.length]?.recordDevices(batch);
    }));
    const { statuses } = await (stores[0] ?? await scene.open()).devices("online", 100);
    expect(statuses.map(({ epoch }) => epoch)).toEqual(Array.from({ length: 20 }, () => 11));
  });
}
