import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { DEVICE_STATUS_QUEUE } from "../../src/broker/topology.ts";
import type { Broker, Consumer } from "../../src/broker/broker.ts";
import { decodeStatus, type DeviceStatus, statusMessage } from "../../src/devices/device_status.ts";
import { declareStatusQueue } from "../../src/devices/status_queue.ts";
import { Device } from "../support/device.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { until } from "../support/waiting.ts";
import { DeviceNode, STARTED_AT } from "./gateway_scene.ts";

const folder = mkdtempSync(join(tmpdir(), "coxswain-devices-"));
const broker = new EmbeddedBroker({ dataDir: folder });
let main: Broker;
/** What was told durably, as a recorder would hear it. */
const told: DeviceStatus[] = [];
let listening: Promise<void>;

beforeAll(async () => {
  main = await connect();
  await declareStatusQueue(main);
  listening = listen(await main.consume(DEVICE_STATUS_QUEUE.name, { prefetch: 1_000 }));
});
afterAll(async () => {
  await main.stop();
  await listening;
  rmSync(folder, { recursive: true });
});

async function listen(consumer: Consumer): Promise<void> {
  for await (const delivery of consumer) {
    const decoded = decodeStatus(delivery.message.body);
    if (decoded.kind === "status") told.push(decoded.status);
    delivery.ack();
  }
}

async function connect(): Promise<Broker> {
  const connection = broker.connect();
  await connection.start();
  return connection;
}

/** Waits until the last that was told of a device by a node is so. */
function lastTold(device: string, node: string, what: Partial<DeviceStatus>): Promise<void> {
  return until(`${node} told of ${device}: ${JSON.stringify(what)}`, () => {
    const last = told.findLast((status) => status.device === device && status.node === node);
    return last !== undefined &&
      Object.entries({ ...last, ...what }).every(([key, value]) =>
        Reflect.get(last, key) === value
      );
  });
}

describe("two gateways", () => {
  test("know each other's devices, and take them over from each other", async () => {
    const tokens = [{ id: "*", token: "t" }];
    await using a = await DeviceNode.start(await connect(), "a", { tokens });
    await using b = await DeviceNode.start(await connect(), "b", { tokens });
    using first = await a.device("d t\n");
    await until("b knows", () => b.devices.find("d")?.node === "a");
    using second = await b.device("d t\n");
    await first.closed();
    await until("a knows", () => a.devices.find("d")?.node === "b");
    expect(b.devices.list().map(({ id, node }) => [id, node])).toEqual([["d", "b"]]);
    expect(await a.devices.send("d", "hello")).toEqual({ kind: "written", node: "b" });
    await until("it came", () => second.lines.includes("hello"));
    await a.stop();
    await b.stop();
    await second.closed();
    expect(second.text).toContain("error: the gateway stops");
    await lastTold("d", "a", { change: "offline", reason: "replaced" });
    await lastTold("d", "b", { change: "offline", reason: "node-stopped" });
  });

  test("one that starts later asks for what there is", async () => {
    await using a = await DeviceNode.start(await connect(), "a");
    using device = await a.device();
    await using late = await DeviceNode.start(await connect(), "late");
    await until("it knows", () => late.devices.find(device.address)?.node === "a");
    late.tellOfNode("gone", "a");
    expect(late.devices.find(device.address)).toBeUndefined();
    late.tellOfNode("back", "a");
    await until("it is told of anew", () => late.devices.find(device.address) !== undefined);
    await lastTold(device.address, "a", { change: "online", revision: 1 });
  });

  test("a device that somebody took for gone is told of anew", async () => {
    await using a = await DeviceNode.start(await connect(), "a");
    await using b = await DeviceNode.start(await connect(), "b");
    using device = await a.device();
    const id = device.address;
    await until("b knows", () => b.devices.find(id) !== undefined);
    const { epoch = 0 } = b.devices.find(id) ?? {};
    await main.publish(statusMessage({
      ...{ device: id, change: "offline", epoch, node: "a", nodeStartedAt: STARTED_AT },
      ...{ address: id, at: 1, connectedAt: 1, lastSeenAt: 1, reason: "node-gone" },
    }));
    await lastTold(id, "a", { change: "online", revision: 1 });
    await until("b knows again", () => b.devices.find(id)?.node === "a");
  });
});

describe("a gateway's limits", () => {
  test("connections of one address, and in all: the next is told why", async () => {
    await using node = await DeviceNode.start(await connect(), "n", { maxPerAddress: 2 });
    using one = await node.device();
    using two = await node.device();
    using three = new Device(node.gateway.port);
    await three.closed();
    expect(three.text).toBe("error: there are 2 connections from this address already\n");
    one.socket.end();
    await until("there is room", () => node.gateway.status.connections === 1);
    using four = await node.device();
    expect([two.isClosed, four.isClosed]).toEqual([false, false]);
  });

  test("who does not say who he is in time, and of whom nothing comes, is cut", async () => {
    const clock = new FakeClock();
    const tokens = [{ id: "d", token: "t" }];
    await using node = await DeviceNode.start(
      await connect(),
      "n",
      { tokens, idleMs: 60_000 },
      clock,
    );
    using silent = await Device.connected(node.gateway.port);
    using known = await node.device("d t\n");
    await until("both are there", () => node.gateway.status.connections === 2);
    clock.advance(11_000);
    await silent.closed();
    expect(silent.text).toStartWith('error: the first line, "id token", did not come within');
    known.send("alive\n");
    await until("it was heard", () => node.gateway.find("d")?.lastSeenAt.getTime() === clock.now());
    clock.advance(59_000);
    expect(known.isClosed).toBe(false);
    clock.advance(3_000);
    await known.closed();
    expect(known.text).toBe("error: nothing came within 60000 ms\n");
    await lastTold("d", "n", { change: "offline", reason: "idle" });
  });

  test("those who come and go at once are never told of, or as often on as off", async () => {
    await using node = await DeviceNode.start(await connect(), "storm");
    for (let round = 0; round < 5; round++) {
      const devices = Array.from({ length: 100 }, () => new Device(node.gateway.port));
      await Promise.all(
        devices.map((device) => new Promise((done) => device.socket.once("connect", done))),
      );
      for (const device of devices) device.socket.destroy();
    }
    await until("all are gone", () => {
      const { connections, devices, waitingStatuses } = node.gateway.status;
      return connections + devices + waitingStatuses === 0;
    });
    const count = (change: string) =>
      told.filter((status) => status.node === "storm" && status.change === change).length;
    await until("as many went as came", () => count("online") === count("offline"));
  });
});

describe("commands", () => {
  test("end in one of the ways that there are", async () => {
    await using a = await DeviceNode.start(await connect(), "a", { maxLineBytes: 64 });
    await using b = await DeviceNode.start(await connect(), "b");
    using device = await a.device();
    const id = device.address;
    await until("b knows", () => b.devices.find(id) !== undefined);
    const kind = async (to: string, cmd: string, replyMs?: number) =>
      (await b.devices.send(to, cmd, replyMs === undefined ? {} : { replyMs })).kind;
    expect(await kind(id, "x")).toBe("written");
    expect(await kind("nobody", "x")).toBe("not-found");
    expect(await kind("no id", "x")).toBe("not-found");
    expect(await kind(id, "a\nb")).toBe("refused");
    expect(await kind(id, "x".repeat(65))).toBe("refused");
    expect(await kind(id, "x", 20)).toBe("no-reply");
    const lost = kind(id, "last", 20_000);
    await until("it came", () => device.lines.includes("last"));
    device.socket.destroy();
    expect(await lost).toBe("lost");
    expect(b.commands.pending).toBe(0);
  });

  test("whoever gives up waiting is let go, and the device is free for others", async () => {
    await using a = await DeviceNode.start(await connect(), "a");
    using device = await a.device();
    const gone = new AbortController();
    const sent = a.devices.send(device.address, "x", { replyMs: 20_000, signal: gone.signal });
    await until("it came", () => device.lines.includes("x"));
    gone.abort(new Error("no more"));
    expect(await sent.catch((error: unknown) => String(error))).toBe("Error: no more");
    expect(a.commands.pending).toBe(0);
    // The device is free at once.
    expect((await a.devices.send(device.address, "y")).kind).toBe("written");
  });

  test("what waits when this node stops is told so", async () => {
    await using a = await DeviceNode.start(await connect(), "a");
    using device = await a.device();
    const sent = a.devices.send(device.address, "x", { replyMs: 20_000 });
    await until("it came", () => device.lines.includes("x"));
    await a.commands.stop();
    expect((await sent).kind).toBe("lost");
    expect((await a.devices.send(device.address, "y")).kind).toBe("broker-away");
  });

  test("a message that is none, and a word that is no status, are passed over", async () => {
    await using a = await DeviceNode.start(await connect(), "a");
    using device = await a.device();
    const body = new TextEncoder().encode("?");
    for (
      const [exchange, key] of [
        ["cox.devices", device.address],
        ["cox.device-status", "online.x"],
        ["cox.device-status", "held"],
      ] as const
    ) {
      await main.publish({ exchange, routingKey: key, properties: {}, body }, { confirm: true });
    }
    expect((await a.devices.send(device.address, "still")).kind).toBe("written");
  });
});
