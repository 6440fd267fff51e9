/** Statuses of devices into the store, and devices whose gateway is no more. */
import { describe, expect, test } from "bun:test";
import { DEVICE_STATUS_EXCHANGE, DEVICE_STATUS_QUEUE } from "../../../src/broker/topology.ts";
import {
  decodeStatus,
  type DeviceStatus,
  statusMessage,
} from "../../../src/devices/device_status.ts";
import { declareStatusQueue } from "../../../src/devices/status_queue.ts";
import { holdingOf, type NodesThere } from "../../../src/jobs/recorder/lost_gateways.ts";
import type { KnownNode, RosterEvent, RosterEventKind } from "../../../src/nodes/roster.ts";
import { StoreAwayError } from "../../../src/store/errors.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../../../src/store/store.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { until } from "../../support/waiting.ts";
import { RecorderScene } from "./recorder_scene.ts";

const NOW = Date.now();
const BOOT = new Date(NOW - 60_000).toISOString();
const LATER_BOOT = new Date(NOW).toISOString();

function online(device: string, changes: Partial<DeviceStatus> = {}): DeviceStatus {
  return {
    device,
    change: "online",
    epoch: NOW,
    node: "a",
    nodeStartedAt: BOOT,
    address: "127.0.0.1:50312",
    at: NOW,
    connectedAt: NOW,
    lastSeenAt: NOW,
    ...changes,
  };
}

const offline = (device: string, changes: Partial<DeviceStatus> = {}) =>
  online(device, { change: "offline", at: NOW + 1, reason: "closed", ...changes });

function node(state: KnownNode["state"], startedAt = BOOT): KnownNode {
  return {
    kind: "coxswain",
    id: "a",
    role: "serve",
    version: "1",
    state,
    startedAt,
    intervalMs: 1_000,
  };
}

/** Who is there, as the test says. */
class Roster implements NodesThere {
  readonly nodes = new Map<string, KnownNode>();
  readonly #listeners = new Set<(event: RosterEvent) => void>();
  find(id: string): KnownNode | undefined {
    return this.nodes.get(id);
  }
  watch(listener: (event: RosterEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  become(kind: RosterEventKind, known: KnownNode): void {
    this.nodes.set(known.id, known);
    for (const listener of this.#listeners) listener({ kind, node: known });
  }
}

async function tell(scene: RecorderScene, ...statuses: readonly DeviceStatus[]): Promise<void> {
  await declareStatusQueue(scene.broker);
  for (const status of statuses) {
    await scene.broker.publish(statusMessage(status), { confirm: true, mandatory: true });
  }
}

async function reached(
  scene: RecorderScene,
  device: string,
  change: DeviceStatus["change"],
): Promise<DeviceStatus> {
  let status: DeviceStatus | undefined;
  await until(`device ${device} is ${change}`, async () => {
    status = await scene.store.device(device);
    return status?.change === change;
  }, 20_000);
  if (status === undefined) throw new Error(`There is no device ${device}`);
  return status;
}

/** Hears what is told of devices that went. */
async function hearOffline(scene: RecorderScene): Promise<readonly DeviceStatus[]> {
  const heard: DeviceStatus[] = [];
  const queue = await scene.broker.openPrivateQueue({
    prefix: "heard.",
    bindings: [{ exchange: DEVICE_STATUS_EXCHANGE.name, routingKey: "offline.*" }],
  });
  void (async () => {
    for await (const { message } of queue) {
      const decoded = decodeStatus(message.body);
      if (decoded.kind === "status") heard.push(decoded.status);
    }
  })();
  return heard;
}

describe("statuses of devices", () => {
  test("are recorded, in whatever order they come, and settled", async () => {
    await using scene = await RecorderScene.start();
    const moved = online("d1", { epoch: NOW + 5, node: "b" });
    await tell(scene, online("d1"), moved, offline("d1"), online("d2"), offline("d2"));
    expect(await reached(scene, "d2", "offline")).toEqual(offline("d2"));
    expect(await scene.store.device("d1")).toEqual(moved);
    await until(
      "all are settled",
      async () => (await scene.broker.inspectQueue(DEVICE_STATUS_QUEUE.name))?.messages === 0,
    );
    expect(scene.recorder.status).toMatchObject({ state: "recording", held: 0 });
  });

  test("that nobody can read are passed over", async () => {
    await using scene = await RecorderScene.start();
    for (const body of ["", "{", "null", JSON.stringify({ ...online("d"), epoch: "x" })]) {
      await scene.broker.publish(
        { ...statusMessage(online("d")), body: new TextEncoder().encode(body) },
        { confirm: true },
      );
    }
    await tell(scene, online("d", { epoch: NOW + 1 }));
    expect(await reached(scene, "d", "online")).toMatchObject({ epoch: NOW + 1 });
    expect((await scene.store.deviceHistory("d", 10)).statuses).toHaveLength(1);
  });

  test("wait while the store is away", async () => {
    let isAway = true;
    await using scene = await RecorderScene.open();
    const store = failing(
      new SqliteStore({ dataDir: scene.folder.file("store") }),
      () => isAway ? new StoreAwayError("it is away") : undefined,
    );
    await scene.record({ store });
    await tell(scene, online("d1"), online("d2"));
    await until("it says so", () => scene.recorder.status.obstacle === "it is away");
    expect(await store.device("d1")).toBeUndefined();
    isAway = false;
    await reached(scene, "d1", "online");
    await reached(scene, "d2", "online");
    await until("it says so", () => scene.recorder.status.obstacle === undefined);
  });

  test("one that the store refuses stops no other", async () => {
    await using scene = await RecorderScene.open();
    const store = failing(
      new SqliteStore({ dataDir: scene.folder.file("store") }),
      (statuses) => statuses.some(({ device }) => device === "bad") ? new Error("no") : undefined,
    );
    await tell(scene, online("d1"), online("bad"), online("d2"));
    await scene.record({ store });
    await reached(scene, "d1", "online");
    await reached(scene, "d2", "online");
    expect(await store.device("bad")).toBeUndefined();
  });

  test("go when they are too old", async () => {
    await using scene = await RecorderScene.open();
    const old = { epoch: 1, at: 1_000, connectedAt: 1_000, lastSeenAt: 1_000 };
    const young = online("d2", { at: NOW + 3_600_000 });
    await tell(scene, online("d1", old), offline("d1", old), young);
    await scene.record({ keepDevicesMs: 10_000 });
    await reached(scene, "d2", "online");
    await until("the old one is gone", async () => {
      return await scene.store.device("d1") === undefined;
    }, 20_000);
    expect(await scene.store.device("d2")).toBeDefined();
  });
});

/** A store whose records of devices fail as the test says. */
function failing(
  store: Store,
  fails: (statuses: readonly DeviceStatus[]) => Error | undefined,
): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name === "recordDevices") {
        return (statuses: readonly DeviceStatus[]) => {
          const error = fails(statuses);
          return error === undefined ? target.recordDevices(statuses) : Promise.reject(error);
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("holdingOf()", () => {
  const start = { node: "a", nodeStartedAt: BOOT };

  test("believes a node that is heard", () => {
    for (const state of ["alive", "late", "unknown"] as const) {
      expect(holdingOf(start, node(state))).toBe("holds");
    }
  });

  test("does not believe one that is gone, or was started anew", () => {
    expect(holdingOf(start, node("gone"))).toBe("lost");
    expect(holdingOf(start, node("alive", LATER_BOOT))).toBe("lost");
    expect(holdingOf(start, node("gone", LATER_BOOT))).toBe("lost");
  });

  test("has patience with one that leaves, and one that is not known yet", () => {
    expect(holdingOf(start, node("left"))).toEqual({ patienceMs: 60_000 });
    expect(holdingOf(start, undefined)).toEqual({ patienceMs: 10_000 });
    expect(holdingOf({ node: "a", nodeStartedAt: LATER_BOOT }, node("alive")))
      .toEqual({ patienceMs: 10_000 });
  });
});

describe("a gateway that is no more", () => {
  test("has its devices set offline, and everybody is told", async () => {
    const roster = new Roster();
    roster.nodes.set("a", node("alive"));
    roster.nodes.set("b", { ...node("alive"), id: "b" });
    await using scene = await RecorderScene.start({ recorder: { roster } });
    const heard = await hearOffline(scene);
    const devices = Array.from({ length: 450 }, (_, n) => `d${n}`);
    await tell(scene, ...devices.map((id) => online(id)), online("e", { node: "b" }));
    await reached(scene, "e", "online");
    roster.become("gone", node("gone"));
    expect(await reached(scene, "d7", "offline")).toMatchObject({ reason: "node-gone" });
    await until("all were told", () => heard.length === devices.length, 20_000);
    expect((await scene.store.devices("online", 10)).statuses).toMatchObject([{ device: "e" }]);
    // It was not gone at all.
    await tell(scene, online("d7", { revision: 1 }));
    roster.become("back", node("alive"));
    await reached(scene, "d7", "online");
  }, 30_000);

  test("is not the recorder's own node, even where its beacons are missed", async () => {
    const clock = new FakeClock(NOW);
    const roster = new Roster();
    roster.nodes.set("self", { ...node("gone"), id: "self" });
    roster.nodes.set("other", { ...node("gone"), id: "other" });
    await using scene = await RecorderScene.open();
    const started = { nodeStartedAt: LATER_BOOT };
    await tell(
      scene,
      online("d1", { node: "self" }),
      online("d2", { node: "other" }),
      online("d3", { node: "self", ...started, epoch: NOW + 1 }),
    );
    await scene.record({ roster, clock, node: "self" });
    await until("d2 is offline", async () => {
      clock.advance(1_000);
      return (await scene.store.device("d2"))?.change === "offline";
    }, 20_000);
    expect(await scene.store.device("d1")).toMatchObject({ change: "online" });
    // Another start of its name is another matter.
    await until("d3 is offline", async () => {
      clock.advance(1_000);
      return (await scene.store.device("d3"))?.change === "offline";
    }, 20_000);
    expect(await scene.store.device("d1")).toMatchObject({ change: "online" });
  }, 30_000);

  test("is found by a recorder that starts later", async () => {
    const clock = new FakeClock(NOW);
    const roster = new Roster();
    roster.nodes.set("b", { ...node("alive", LATER_BOOT), id: "b" });
    await using scene = await RecorderScene.open();
    await tell(scene, online("d1", { node: "a" }), online("d2", { node: "b" }));
    await scene.record({ roster, clock });
    // Of one that is known by another start it is sure, of a stranger only after a while.
    await until("d2 is offline", async () => {
      clock.advance(100);
      return (await scene.store.device("d2"))?.change === "offline";
    }, 20_000);
    expect(await scene.store.device("d1")).toMatchObject({ change: "online" });
    await until("d1 is offline", async () => {
      clock.advance(1_000);
      return (await scene.store.device("d1"))?.change === "offline";
    }, 20_000);
  }, 30_000);
});
