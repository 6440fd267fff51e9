/** Workers of Celery's in the roster: what is read of their events, and when they are late and gone. */
import { describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { CELERY_EVENTS_EXCHANGE, CONTROL_EXCHANGE } from "../../src/broker/topology.ts";
import { CeleryWatch } from "../../src/nodes/celery_watch.ts";
import { type CeleryWorkerNews, decodeCeleryWorker } from "../../src/nodes/celery_worker.ts";
import { Roster } from "../../src/nodes/roster.ts";
import events from "../fixtures/celery/events.json" with { type: "json" };
import { DataFolder } from "../broker/embedded/data_folder.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { until } from "../support/waiting.ts";

const encoder = new TextEncoder();
const bytes = (value: unknown) => encoder.encode(JSON.stringify(value));
const captured = (type: string) => {
  const found = events.find(({ event }) => event.type === type);
  if (found === undefined) throw new Error(`No ${type} was captured`);
  return found.event;
};

describe("decodeCeleryWorker()", () => {
  test("reads what a worker of Celery's tells", () => {
    expect(decodeCeleryWorker(bytes(captured("worker-heartbeat")))).toEqual({
      kind: "heartbeat",
      name: "w1@cap",
      version: "5.2.6",
      intervalMs: 2_000,
      pid: expect.any(Number),
      active: expect.any(Number),
      processed: expect.any(Number),
      loadAverage: [expect.any(Number), expect.any(Number), expect.any(Number)],
    });
    expect(decodeCeleryWorker(bytes(captured("worker-online")))?.kind).toBe("online");
    expect(decodeCeleryWorker(bytes(captured("worker-offline")))?.kind).toBe("offline");
  });

  test("takes what is missing or odd for not said", () => {
    const odd = { type: "worker-heartbeat", hostname: "w@h", timestamp: 1 };
    const plain = { kind: "heartbeat", name: "w@h", version: "", intervalMs: 60_000 } as const;
    expect(decodeCeleryWorker(bytes(odd))).toEqual(plain);
    expect(
      decodeCeleryWorker(
        bytes({ ...odd, freq: null, pid: "x", active: -1, processed: 1.5, loadavg: 3, sw_ver: 5 }),
      ),
    ).toEqual(plain);
  });

  test.each([
    ["no JSON", encoder.encode("{garbage")],
    ["an array", bytes([captured("worker-heartbeat")])],
    ["a task's event", bytes(captured("task-started"))],
    ["no name", bytes({ type: "worker-online" })],
    ["a long name", bytes({ type: "worker-online", hostname: "x".repeat(256) })],
    ["one of ours", bytes({ ...captured("worker-online"), sw_ident: "coxswain" })],
    ["too large", bytes({ type: "worker-online", hostname: "w", x: "y".repeat(70_000) })],
  ])("passes over %s", (_, body) => {
    expect(decodeCeleryWorker(body)).toBeUndefined();
  });
});

describe("roster of Celery's workers", () => {
  function scene() {
    const clock = new FakeClock();
    const roster = new Roster(clock);
    const told: string[] = [];
    const news = (changes: Partial<CeleryWorkerNews> = {}) => {
      const all = { kind: "heartbeat", name: "w@h", version: "5", intervalMs: 2_000 } as const;
      for (const { kind } of roster.heardCelery({ ...all, pid: 7, ...changes })) told.push(kind);
    };
    const pass = (ms: number) => {
      for (let passed = 0; passed < ms; passed += 100) {
        clock.advance(100);
        for (const { kind } of roster.check()) told.push(kind);
      }
    };
    return { roster, told, news, pass, state: () => roster.find("w@h")?.state };
  }

  test("lists them as such", () => {
    const { roster, news } = scene();
    news({ active: 3, processed: 9, loadAverage: [1, 2, 3] });
    expect(roster.list()).toEqual([{
      kind: "celery",
      id: "w@h",
      role: "worker",
      version: "5",
      state: "alive",
      intervalMs: 2_000,
      lastBeaconAt: expect.any(String),
      pid: 7,
      load: { running: 3 },
      processed: 9,
      loadAverage: [1, 2, 3],
    }]);
  });

  test("says late after twice the interval, gone after four times, and back", () => {
    const { told, news, pass, state } = scene();
    news();
    pass(3_900);
    expect(state()).toBe("alive");
    pass(200);
    expect(state()).toBe("late");
    pass(4_000);
    expect(state()).toBe("gone");
    news();
    expect(told).toEqual(["found", "late", "gone", "back"]);
  });

  test("says when one leaves, and when it comes again with the same process or another", () => {
    const { told, news } = scene();
    news({ kind: "online" });
    news({ kind: "offline" });
    // Overtaken by the farewell.
    news();
    news({ kind: "online" });
    news({ pid: 8 });
    expect(told).toEqual(["joined", "left", "joined", "joined"]);
  });

  test("a node of ours is never taken for one, whatever somebody calls himself", () => {
    const { roster, news } = scene();
    roster.heardIntroduction({
      node: "w@h",
      role: "work",
      version: "1",
      startedAt: "2030-01-01T00:00:00.000Z",
      uptimeMs: 0,
      intervalMs: 1_000,
    });
    news();
    news({ kind: "offline" });
    expect(roster.find("w@h")).toMatchObject({ kind: "coxswain", state: "alive" });
  });
});

describe("CeleryWatch", () => {
  async function watching(broker: Broker) {
    const heard: CeleryWorkerNews[] = [];
    const watch = new CeleryWatch({ broker, onNews: (news) => heard.push(news) });
    await watch.start();
    const publish = (routingKey: string, body: Uint8Array) =>
      broker.publish({ exchange: CELERY_EVENTS_EXCHANGE.name, routingKey, properties: {}, body });
    return { heard, watch, publish };
  }

  test("asks for heartbeats when it starts, and hears workers alone", async () => {
    await using folder = new DataFolder();
    const broker = await folder.connect();
    await broker.declareExchange(CONTROL_EXCHANGE);
    const asked: unknown[] = [];
    const pidbox = await broker.openPrivateQueue({
      prefix: "pidbox.",
      bindings: [{ exchange: CONTROL_EXCHANGE.name }],
    });
    void (async () => {
      for await (const { message } of pidbox) {
        asked.push(JSON.parse(new TextDecoder().decode(message.body)));
      }
    })();
    const { heard, watch, publish } = await watching(broker);
    await publish("task.multi", bytes([captured("task-started")]));
    await publish("worker.heartbeat", encoder.encode("{garbage"));
    await publish("worker.heartbeat", bytes(captured("worker-heartbeat")));
    await until("the worker is heard", () => heard.length === 1);
    await until("workers are asked", () => asked.length === 1);
    expect(asked).toEqual([{
      method: "heartbeat",
      arguments: {},
      destination: null,
      pattern: null,
      matcher: null,
    }]);
    await watch.stop();
    await watch.stop();
    await pidbox.close();
  });

  test("goes on without where the exchange is another", async () => {
    await using folder = new DataFolder();
    const broker = await folder.connect();
    await broker.declareExchange({ name: CELERY_EVENTS_EXCHANGE.name, type: "fanout" });
    const { heard, watch } = await watching(broker);
    expect(heard).toEqual([]);
    await watch.stop();
  });
});
