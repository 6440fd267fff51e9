/** `GET /devices` over a list of who is connected and a real store. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { DeviceStatus } from "../../src/devices/device_status.ts";
import type { DeviceList, LiveDevice } from "../../src/devices/devices.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { type Folder, makeFolder } from "../support/folders.ts";
import { front, type FrontSettings, problemOf } from "./front.ts";

const START = Date.UTC(2026, 0, 1);

function live(id: string, epoch = 1): LiveDevice {
  return {
    id,
    address: "10.0.0.7:5000",
    node: "a",
    connectedAt: new Date(START),
    lastSeenAt: new Date(START + 9_000),
    epoch,
  };
}

function status(
  device: string,
  change: DeviceStatus["change"],
  further: Partial<DeviceStatus> = {},
): DeviceStatus {
  return {
    device,
    change,
    epoch: 1,
    node: "a",
    nodeStartedAt: new Date(START).toISOString(),
    address: "10.0.0.7:5000",
    at: change === "online" ? START : START + 5_000,
    connectedAt: START,
    lastSeenAt: START,
    ...(change === "offline" ? { reason: "closed" as const } : {}),
    ...further,
  };
}

class Connected implements DeviceList {
  readonly #devices: readonly LiveDevice[];
  constructor(...devices: readonly LiveDevice[]) {
    this.#devices = devices;
  }
  list(): readonly LiveDevice[] {
    return this.#devices;
  }
  find(id: string): LiveDevice | undefined {
    return this.#devices.find((device) => device.id === id);
  }
}

let folder: Folder;
let store: SqliteStore;
beforeAll(async () => {
  folder = await makeFolder();
  store = new SqliteStore({ dataDir: folder.file("store") });
  await store.open();
  await store.recordDevices([
    status("boiler", "online"),
    status("kiln", "online"),
    status("kiln", "offline"),
    status("127.0.0.1:50312", "online"),
    status("127.0.0.1:50312", "offline", { reason: "node-gone" }),
    ...Array.from({ length: 30 }, (_, n) => status("flaky", "offline", { epoch: n })),
  ]);
});
afterAll(async () => {
  await store.close();
  await folder[Symbol.asyncDispose]();
});

const devices = new Connected(live("boiler"), live("lathe"));
const recorded: FrontSettings = { devices };

function get(path: string, settings: FrontSettings = recorded, isRecorded = true) {
  const { app } = front({ ...settings, ...(isRecorded ? { deviceRecords: store } : {}) });
  return app.request(path);
}

async function idsOf(response: Response | Promise<Response>): Promise<readonly string[]> {
  const listed: { readonly id: string }[] = await (await response).json();
  return listed.map(({ id }) => id);
}

describe("GET /devices", () => {
  test("lists those that are connected, and only what others rely on", async () => {
    const response = await get("/devices");
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual(["boiler", "lathe"].map((id) => ({
      id,
      address: "10.0.0.7:5000",
      node: "a",
      connectedAt: "2026-01-01T00:00:00.000Z",
      lastSeenAt: "2026-01-01T00:00:09.000Z",
    })));
  });

  test("lists them page by page", async () => {
    const many = new Connected(...Array.from({ length: 5 }, (_, n) => live(`d${n}`)));
    const first = await get("/devices?limit=2", { devices: many });
    expect(await idsOf(first)).toEqual(["d0", "d1"]);
    const next = /^<(.*)>; rel="next"$/.exec(first.headers.get("link") ?? "")?.[1] ?? "";
    const second = await get(next, { devices: many });
    expect(await idsOf(second)).toEqual(["d2", "d3"]);
    const last = /^<(.*)>; rel="next"$/.exec(second.headers.get("link") ?? "")?.[1] ?? "";
    const third = await get(last, { devices: many });
    expect(await idsOf(third)).toEqual(["d4"]);
    expect(third.headers.get("link")).toBeNull();
  });

  test("lists those that went, and all", async () => {
    const offline = await get("/devices?state=offline&limit=2");
    expect(await offline.json()).toMatchObject([
      { id: "127.0.0.1:50312", state: "offline", reason: "node-gone" },
      { id: "flaky", state: "offline" },
    ]);
    expect(offline.headers.get("link")).toContain("state=offline");
    const all = await (await get("/devices?state=all")).json();
    expect(all).toHaveLength(4);
    // When it was last heard is known better where it is connected.
    expect(all[1]).toEqual({
      id: "boiler",
      state: "online",
      address: "10.0.0.7:5000",
      node: "a",
      connectedAt: "2026-01-01T00:00:00.000Z",
      lastSeenAt: "2026-01-01T00:00:09.000Z",
      changedAt: "2026-01-01T00:00:00.000Z",
    });
  });

  test("refuses what it cannot read", async () => {
    for (
      const query of [
        "state=gone",
        "limit=0",
        "limit=1001",
        "cursor=x",
        "state=all&cursor=x",
        "a=b",
      ]
    ) {
      expect((await problemOf(await get(`/devices?${query}`))).type).toBe("/problems/bad-request");
    }
  });

  test("without records knows those that are connected alone", async () => {
    expect(await idsOf(get("/devices", recorded, false))).toEqual(["boiler", "lathe"]);
    expect((await problemOf(await get("/devices?state=all", recorded, false))).type)
      .toBe("/problems/no-job-records");
  });
});

describe("GET /devices/{id}", () => {
  test("shows a device with its history, the last change first", async () => {
    const shown = await (await get("/devices/127.0.0.1:50312")).json();
    expect(shown).toMatchObject({
      id: "127.0.0.1:50312",
      state: "offline",
      reason: "node-gone",
      changedAt: "2026-01-01T00:00:05.000Z",
      history: [{ state: "offline", at: "2026-01-01T00:00:05.000Z" }, { state: "online" }],
    });
    expect(await (await get("/devices/127.0.0.1%3A50312")).json()).toEqual(shown);
    expect((await (await get("/devices/flaky")).json()).history).toHaveLength(20);
  });

  test("shows one whose online is not recorded yet", async () => {
    const settings = { devices: new Connected(live("kiln", 2)) };
    const shown = await (await get("/devices/kiln", settings)).json();
    expect(shown).toMatchObject({ state: "online", lastSeenAt: "2026-01-01T00:00:09.000Z" });
    expect(shown.history).toMatchObject([{ state: "offline" }, { state: "online" }]);
    expect(await (await get("/devices/lathe")).json()).toMatchObject({ history: [] });
  });

  test("is 404 for one that nobody has seen, and says so", async () => {
    const problem = await problemOf(await get("/devices/nobody"));
    expect(problem).toMatchObject({ type: "/problems/unknown-device", device: "nobody" });
  });

  test("without records shows one that is connected, and no history", async () => {
    const shown = await get("/devices/boiler", recorded, false);
    expect(await shown.json()).toEqual({
      id: "boiler",
      state: "online",
      address: "10.0.0.7:5000",
      node: "a",
      connectedAt: "2026-01-01T00:00:00.000Z",
      lastSeenAt: "2026-01-01T00:00:09.000Z",
    });
    expect((await get("/devices/kiln", recorded, false)).status).toBe(404);
    expect((await problemOf(await get("/devices/boiler/history", recorded, false))).type)
      .toBe("/problems/no-job-records");
  });

  test("while the store is away shows one that is connected", async () => {
    const away = new SqliteStore({ dataDir: folder.file("never opened") });
    const settings = { devices, deviceRecords: away };
    expect((await get("/devices/boiler", settings, false)).status).toBe(200);
    for (const path of ["/devices/kiln", "/devices?state=all", "/devices/kiln/history"]) {
      expect((await problemOf(await get(path, settings, false))).type).toBe("/problems/store-away");
    }
  });
});

describe("GET /devices/{id}/history", () => {
  test("tells all changes, page by page", async () => {
    const first = await get("/devices/flaky/history?limit=25");
    expect(await first.json()).toHaveLength(25);
    const next = /^<(.*)>; rel="next"$/.exec(first.headers.get("link") ?? "")?.[1] ?? "";
    const second = await get(next);
    expect(await second.json()).toHaveLength(5);
    expect(second.headers.get("link")).toBeNull();
  });

  test("needs no more than a token that reads", async () => {
    const { app } = front({
      devices,
      deviceRecords: store,
      options: { token: "t".repeat(20), readToken: "r".repeat(20) },
    });
    for (const path of ["/devices", "/devices/kiln", "/devices/kiln/history"]) {
      const authorization = `Bearer ${"r".repeat(20)}`;
      expect((await app.request(path, { headers: { authorization } })).status).toBe(200);
      expect((await app.request(path)).status).toBe(401);
    }
  });
});
