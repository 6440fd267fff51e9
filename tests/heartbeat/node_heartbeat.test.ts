/** A node's heartbeat over real brokers: beacons, logged beats, and the check of the connection. */
import { expect, test } from "bun:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { heartbeatExchange } from "../../src/broker/topology.ts";
import { type Beacon, decodeBeacon } from "../../src/heartbeat/beacon.ts";
import {
  HeartbeatExchangeError,
  type HeartbeatSettings,
  NodeHeartbeat,
} from "../../src/heartbeat/node_heartbeat.ts";
import { eventually, RESTORED_LIMIT_MS, Stage, urlOf } from "../broker/amqp/scene.ts";
import { DataFolder } from "../broker/embedded/data_folder.ts";
import { FakeClock } from "../support/fake_clock.ts";

const SETTINGS: HeartbeatSettings = {
  logEveryMs: 0,
  broadcastEveryMs: 2_000,
  exchange: "Heartbeat",
};

function heartbeatOf(broker: Broker, clock: FakeClock, settings: Partial<HeartbeatSettings> = {}) {
  return new NodeHeartbeat({
    broker,
    clock,
    settings: { ...SETTINGS, ...settings },
    facts: () => ({
      node: "me",
      role: "all",
      version: "9",
      load: {
        running: 1,
        waiting: 2,
        isolates: 3,
        stuckIsolates: 0,
        consumers: [{ queue: "a", isLive: true }, { queue: "b", isLive: false }],
        memoryBytes: 4,
      },
      tasks: ["t"],
    }),
  });
}

/** What is heard on the exchange, by a queue that anybody could bind. */
async function listener(broker: Broker, exchange = "Heartbeat") {
  await broker.declareExchange(heartbeatExchange(exchange));
  const queue = await broker.openPrivateQueue({ prefix: "ears", bindings: [{ exchange }] });
  const heard: (Beacon | undefined)[] = [];
  const loop = (async () => {
    for await (const { message } of queue) heard.push(decodeBeacon(message.body));
  })();
  return {
    heard,
    [Symbol.asyncDispose]: async () => {
      await queue.close();
      await loop;
    },
  };
}

/** Lets time pass second by second, and everything else in between. */
async function pass(clock: FakeClock, seconds: number): Promise<void> {
  for (let passed = 0; passed < seconds; passed++) {
    clock.advance(1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("a node beacons when it starts and every interval, until it stops", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  await using ears = await listener(broker);
  const clock = new FakeClock();
  const heartbeat = heartbeatOf(broker, clock);
  expect(heartbeat.status).toEqual({ count: 0, isBeating: false });
  await heartbeat.start();
  await pass(clock, 60);
  expect(ears.heard.length).toBe(31);
  expect(ears.heard[0]).toMatchObject({ count: 0, uptimeMs: 0 });
  expect(ears.heard.at(-1)).toEqual({
    node: "me",
    role: "all",
    version: "9",
    startedAt: "2030-01-01T00:00:00.000Z",
    uptimeMs: 60_000,
    intervalMs: 2_000,
    count: 60,
    load: {
      running: 1,
      waiting: 2,
      isolates: 3,
      stuckIsolates: 0,
      consumers: [{ queue: "a", isLive: true }, { queue: "b", isLive: false }],
      memoryBytes: 4,
    },
    tasks: ["t"],
  });
  expect(heartbeat.status).toEqual({
    count: 60,
    isBeating: true,
    lastBeaconAt: new Date("2030-01-01T00:01:00.000Z"),
  });
  heartbeat.asked();
  await heartbeat.ticker.alive();
  await heartbeat.stop();
  await pass(clock, 60);
  expect(ears.heard.length).toBe(33);
});

test("0 turns beacons off, but for those that are asked for by alive()", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  await using ears = await listener(broker);
  const clock = new FakeClock();
  const heartbeat = heartbeatOf(broker, clock, { broadcastEveryMs: 0 });
  await heartbeat.start();
  heartbeat.asked();
  await pass(clock, 60);
  expect([ears.heard.length, heartbeat.ticker.count]).toEqual([0, 60]);
  await heartbeat.ticker.alive();
  await eventually(() => ears.heard.length, (count) => count === 1, "the beacon");
  expect(ears.heard[0]?.intervalMs).toBe(0);
  await heartbeat.stop();
});

test("beats are logged every interval, or never", async () => {
  const logged: LogRecord[] = [];
  await configure({
    sinks: { kept: (record) => logged.push(record) },
    loggers: [
      { category: ["coxswain", "heartbeat"], sinks: ["kept"], lowestLevel: "info" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
    reset: true,
  });
  try {
    await using folder = new DataFolder();
    const broker = await folder.connect();
    for (const [logEveryMs, lines] of [[10_000, 6], [0, 0]] as const) {
      logged.length = 0;
      const clock = new FakeClock();
      const heartbeat = heartbeatOf(broker, clock, { logEveryMs });
      await heartbeat.start();
      await pass(clock, 60);
      await heartbeat.stop();
      expect(logged.length).toBe(lines);
    }
    const clock = new FakeClock();
    const heartbeat = heartbeatOf(broker, clock, { logEveryMs: 1_000 });
    await heartbeat.start();
    await pass(clock, 1);
    expect(logged[0]?.properties).toEqual({
      count: 1,
      running: 1,
      waiting: 2,
      isolates: 3,
      stuckIsolates: 0,
      memoryBytes: 4,
      consumers: 2,
      liveConsumers: 1,
    });
    await heartbeat.stop();
  } finally {
    await reset();
  }
});

test("an exchange of another kind is told with what to do", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  await broker.declareExchange({ name: "Heartbeat", type: "topic" });
  const error = await heartbeatOf(broker, new FakeClock()).start().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(HeartbeatExchangeError);
  expect(String(error)).toContain("--heartbeat-exchange");
});

test("while the broker is away the heartbeat beats on, and alive() says why it cannot", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  const clock = new FakeClock();
  const heartbeat = heartbeatOf(broker, clock);
  await heartbeat.start();
  await broker.stop();
  await pass(clock, 120);
  expect(heartbeat.status).toMatchObject({ count: 120, isBeating: true });
  expect(heartbeat.ticker.alive()).rejects.toThrow("Cannot publish");
  await heartbeat.stop();
});

test("a dead connection is found by the check of each minute, and replaced", async () => {
  const rabbit = await sharedRabbitMq();
  await using stage = new Stage(rabbit);
  const proxy = stage.proxy();
  // The broker's own watch on the line would need two minutes.
  const broker = await stage.connect({ url: urlOf(proxy.port), heartbeatMs: 60_000 });
  const clock = new FakeClock();
  const heartbeat = heartbeatOf(broker, clock, { broadcastEveryMs: 0 });
  await heartbeat.start();
  proxy.swallow("toClient", "toTarget");
  await pass(clock, 59);
  expect(broker.state.kind).toBe("connected");
  await pass(clock, 1);
  await eventually(
    () => broker.state.kind,
    (kind) => kind === "away",
    "the loss to be told",
    RESTORED_LIMIT_MS,
  );
  proxy.carry();
  await eventually(
    () => broker.state.kind,
    (kind) => kind === "connected",
    "another connection",
    RESTORED_LIMIT_MS,
  );
  await heartbeat.ticker.alive();
  await heartbeat.stop();
}, 60_000);
