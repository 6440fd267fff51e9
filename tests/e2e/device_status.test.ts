/** Devices that come and go, and gateways that do, as fronts tell and record it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { Fleet } from "../../scripts/devices/fleet.ts";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";
import { Device } from "../support/device.ts";
import {
  devicePort,
  listedDevices,
  recorded,
  type ShownDevice,
  shownDevice,
} from "../support/devices.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

const MIB = 2 ** 20;
const folder = temporaryFolder();
let rabbit: RabbitMq;
/** The recorder's way to the broker. */
let way: TcpProxy;
let recorder: App;
let gateway: App;

const serve = (id: string, url: string, ...args: string[]) =>
  startNode([
    ...["serve", "--port", "0", "--device-port", "0", "--amqp-url", url],
    ...["--heartbeat-broadcast", "1"],
    ...["--node-id", id, ...args],
  ]);

beforeAll(async () => {
  rabbit = await startRabbitMq();
  way = new TcpProxy(rabbit.port);
  const url = rabbit.url.replace(`:${rabbit.port}`, `:${way.port}`);
  recorder = await serve("recorder", url, "--data", join(folder.path, "data"));
  gateway = await serve("gateway", rabbit.url, "--no-recorder");
}, 60_000);
afterAll(async () => {
  await recorder[Symbol.asyncDispose]();
  await gateway[Symbol.asyncDispose]();
  await way[Symbol.asyncDispose]();
  await rabbit.dispose();
  folder.remove();
}, 60_000);

async function shown(
  front: App,
  id: string,
  isSo: (device: ShownDevice) => boolean,
): Promise<ShownDevice> {
  let device: ShownDevice | undefined;
  await until(async () => {
    device = await shownDevice(front, id);
    return device !== undefined && isSo(device);
  }, `device ${id} to be shown so`);
  if (device === undefined) throw new Error(`There is no device ${id}`);
  return device;
}

/** Waits until a front lists a device as connected: it hears of it beside the records. */
async function listed(front: App, id: string): Promise<ShownDevice> {
  let device: ShownDevice | undefined;
  await until(async () => {
    device = (await listedDevices(front)).find((one) => one.id === id);
    return device !== undefined;
  }, `device ${id} to be listed`);
  if (device === undefined) throw new Error(`There is no device ${id}`);
  return device;
}

/** proc(5): the second figure is in pages of 4 KiB. */
function memoryOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * 4_096;
}

describe("a device", () => {
  test("has a row that changes when it comes and goes, wherever it connects", async () => {
    using device = await Device.connected(devicePort(gateway));
    const id = device.address;
    const online = await shown(recorder, id, ({ history = [] }) => history.length > 0);
    expect(online).toMatchObject({ id, state: "online", node: "gateway", address: id });
    expect(Object.keys(await listed(recorder, id))).toEqual([
      "id",
      "address",
      "node",
      "connectedAt",
      "lastSeenAt",
    ]);
    device.socket.end();
    const offline = await shown(recorder, id, ({ state }) => state === "offline");
    expect(offline).toMatchObject({ reason: "closed", connectedAt: online.connectedAt });
    expect(offline.history?.map(({ state }) => state)).toEqual(["offline", "online"]);
    // One that keeps no records knows those that are there alone, and says so.
    expect(await shownDevice(gateway, id)).toBeUndefined();
    expect((await fetch(`${gateway.url}/devices?state=all`)).status).toBe(503);
    expect((await fetch(`${recorder.url}/devices/nobody`)).status).toBe(404);
  });

  test("is listed, shown and sent a line on the command line", async () => {
    using device = await Device.connected(devicePort(gateway));
    const id = device.address;
    await shown(recorder, id, ({ history = [] }) => history.length > 0);
    await listed(recorder, id);
    const front = ["--url", recorder.url];
    const broker = ["--amqp-url", rabbit.url];
    const [table, direct, shownText] = await Promise.all([
      runApp(["devices", ...front]),
      runApp(["devices", "--json", ...broker]),
      runApp(["devices", "show", id, ...front]),
    ]);
    expect(table.output).toContain(`${id}  gateway`);
    expect(JSON.parse(direct.output)).toContainEqual(expect.objectContaining({ id }));
    expect(shownText.output).toMatch(/state: +online/);
    for (const asked of [front, broker]) {
      const replied = runApp(["devices", "send", id, "how warm?", "--reply", "20s", ...asked]);
      const had = device.lines.length;
      await until(() => device.lines.length > had, "the line");
      device.send("21.5\n");
      expect(await replied).toMatchObject({ code: 0, output: "21.5\n" });
    }
    expect(device.lines).toEqual(["how warm?", "how warm?"]);
    const nobody = await runApp(["devices", "send", "nobody", "x", ...front]);
    expect(nobody).toMatchObject({ code: 2 });
    expect(nobody.log).toContain("nobody");
  });
});

describe("a gateway", () => {
  test("that stood still, and one that is killed", async () => {
    const fleet = await Fleet.connect({ port: devicePort(gateway), count: 300 });
    const ids = Array.from({ length: fleet.size }, (_, device) => fleet.address(device));
    await recorded(recorder, ids, "online");

    gateway.signal("SIGSTOP");
    await recorded(recorder, ids, "offline");
    await until(async () => (await listedDevices(recorder)).length === 0, "none to be listed");
    expect(await shownDevice(recorder, ids[7] ?? "")).toMatchObject({ reason: "node-gone" });
    gateway.signal("SIGCONT");
    // It was not gone at all, and the connections are still there.
    await recorded(recorder, ids, "online");
    await until(
      async () => (await listedDevices(recorder, "?limit=1000")).length === ids.length,
      "all to be listed again",
    );
    expect(fleet.size).toBe(ids.length);

    const before = performance.now();
    gateway.signal("SIGKILL");
    await gateway.exited();
    await recorded(recorder, ids, "offline");
    // 4 beacons of 1 s and the look at the clock; the test gives five times as long.
    expect(performance.now() - before).toBeLessThan(25_000);
    const device = await shownDevice(recorder, ids[7] ?? "");
    // Who told it and who was told may both have seen that it was back.
    const changes = device?.history?.map(({ state, reason }) => reason ?? state) ?? [];
    expect(changes.filter((change, n) => change !== changes[n + 1])).toEqual([
      "node-gone",
      "online",
      "node-gone",
      "online",
    ]);
    expect(await listedDevices(recorder)).toEqual([]);
    fleet.close();
  }, 90_000);
});

describe("while the broker is away", () => {
  test("devices stay, and what happened is told when it is back", async () => {
    const [stays, goes] = [
      await Device.connected(devicePort(recorder)),
      await Device.connected(devicePort(recorder)),
    ];
    await recorded(recorder, [stays.address, goes.address], "online");
    const [gone, kept] = [goes.address, stays.address];
    await way.refuse();
    goes.socket.end();
    using comes = await Device.connected(devicePort(recorder));
    await until(async () => {
      const ids = (await listedDevices(recorder)).map(({ id }) => id).toSorted();
      return ids.join() === [kept, comes.address].toSorted().join();
    }, "the list to be right without a broker");
    expect(stays.isClosed).toBe(false);
    way.accept();
    await recorded(recorder, [gone], "offline");
    await recorded(recorder, [kept, comes.address], "online");
    stays[Symbol.dispose]();
  }, 90_000);
});

describe("1,000 devices a second that come and go", () => {
  test("leave memory where it was, and rows that are right", async () => {
    const port = devicePort(recorder);
    const churn = async (seconds: number) => {
      const start = performance.now();
      let count = 0;
      while (performance.now() - start < seconds * 1_000) {
        const wave = await Fleet.connect({ port, count: 100 });
        wave.close();
        count += 100;
        const aheadMs = count - (performance.now() - start);
        if (aheadMs > 0) await Bun.sleep(aheadMs);
      }
      return count;
    };
    await churn(1);
    await until(async () => (await listedDevices(recorder)).length <= 2, "all to be gone");
    const before = memoryOf(recorder.pid);
    expect(await churn(2)).toBeGreaterThan(100);
    await until(async () => {
      const online = await listedDevices(recorder, "?limit=1000");
      return online.length <= 2;
    }, "all to be gone");
    expect(memoryOf(recorder.pid) - before).toBeLessThan(64 * MIB);
    await until(
      async () =>
        (await listedDevices(recorder, "?state=all&limit=1000"))
          .filter(({ state }) => state === "online").length <= 2,
      "all to be recorded offline",
    );
  }, 60_000);

  test("are in the tables when the node has stopped", async () => {
    recorder.signal("SIGTERM");
    expect(await recorder.exited()).toBe(0);
    const database = new DatabaseSync(join(folder.path, "data", "jobs.sqlite"));
    const online = database.prepare("SELECT count(*) AS n FROM devices WHERE is_offline = 0").get();
    const stopped = database.prepare("SELECT count(*) AS n FROM device_statuses WHERE is_offline")
      .get();
    database.close();
    expect(Number(online?.["n"])).toBe(0);
    expect(Number(stopped?.["n"])).toBeGreaterThan(300);
  });
});
