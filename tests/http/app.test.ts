import { describe, expect, test } from "bun:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { createHealthApp } from "../../src/http/app.ts";
import type { BrokerHealth, NodeHealth } from "../../src/http/health.ts";
import type { KnownTask } from "../../src/nodes/announcement.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { front, post, problemOf } from "./front.ts";

const ADD: KnownTask = {
  name: "math.add",
  file: "built in",
  queue: "demo",
  timeoutMs: 300_000,
  isolation: "worker",
  nodes: ["worker-1"],
};

describe("createApp()", () => {
  test("answers 404 for an unknown route", async () => {
    const { app } = front();
    for (const path of ["/nope", "/tasks/", "/tasks//call", "/tasks/a/b/call", "/tasks/a"]) {
      const response = await app.request(path);
      expect(response.status).toBe(404);
      expect((await problemOf(response)).type).toBe("/problems/not-found");
    }
  });

  test("answers 405 with what the route allows", async () => {
    const { app } = front();
    const table: [method: string, path: string, allow: string][] = [
      ["GET", "/tasks/math.add/call", "POST"],
      ["PUT", "/tasks/math.add/call", "POST"],
      ["OPTIONS", "/parallel", "POST"],
      ["POST", "/tasks", "GET, HEAD"],
      ["DELETE", "/healthz", "GET, HEAD"],
      ["POST", "/", "GET, HEAD"],
    ];
    for (const [method, path, allow] of table) {
      const response = await app.request(path, { method });
      expect(response.status).toBe(405);
      expect(response.headers.get("allow")).toBe(allow);
      expect((await problemOf(response)).type).toBe("/problems/method-not-allowed");
    }
  });

  test("lists its routes at /", async () => {
    const { routes } = await (await front().app.request("/")).json();
    expect(routes).toEqual([
      "GET /healthz",
      "GET /readyz",
      "GET /",
      "GET /problems/{name}",
      "GET /tasks",
      "GET /nodes",
      "POST /tasks/{task}/call",
      "POST /parallel",
      "POST /exchanges/{exchange}",
      "GET /queues",
      "POST /queues/{queue}/pause",
      "POST /queues/{queue}/resume",
      "POST /queues/{queue}/purge",
    ]);
  });

  test("explains each problem's type where it points to", async () => {
    const { app } = front();
    const response = await app.request("/problems/timed-out");
    expect(await response.json()).toMatchObject({ type: "/problems/timed-out", status: 504 });
    expect((await app.request("/problems/toString")).status).toBe(404);
  });

  test("lists the tasks that workers announce", async () => {
    const { app } = front({ tasks: [ADD] });
    const response = await app.request("/tasks");
    expect(response.headers.get("content-type")).toStartWith("application/json");
    expect(await response.json()).toEqual([ADD]);
    const head = await app.request("/tasks", { method: "HEAD" });
    expect([head.status, await head.text()]).toEqual([200, ""]);
  });

  test("waits for workers to announce their tasks, but not for ever", async () => {
    const settled = Promise.withResolvers<void>();
    const patient = front({ tasks: [ADD], settled: settled.promise }).app.request("/tasks");
    settled.resolve();
    expect(await (await patient).json()).toEqual([ADD]);

    const clock = new FakeClock();
    const late = front({ tasks: [ADD], settled: new Promise(() => {}), clock }).app.request(
      "/tasks",
    );
    while (clock.timers === 0) await Promise.resolve();
    clock.advance(1_000);
    expect(await (await late).json()).toEqual([ADD]);
  });
});

describe("a defect in the front", () => {
  const records: LogRecord[] = [];
  const logged = async (exposeErrors: boolean) => {
    records.length = 0;
    await configure({
      sinks: { memory: (record) => void records.push(record) },
      loggers: [
        { category: ["coxswain"], sinks: ["memory"], lowestLevel: "info" },
        { category: ["logtape", "meta"], sinks: [] },
      ],
    });
    try {
      const { app, caller } = front({ options: { exposeErrors } });
      caller.script = () => {
        throw new Error("a defect");
      };
      return await problemOf(await post(app, "/tasks/t/call", ""));
    } finally {
      await reset();
    }
  };

  test("is a 500 that tells nothing but where the log tells more, logged once", async () => {
    const problem = await logged(false);
    expect(problem.type).toBe("/problems/internal-error");
    expect(JSON.stringify(problem)).not.toContain("a defect");
    expect(records).toHaveLength(1);
    expect(records[0]).toMatchObject({
      level: "error",
      properties: {
        method: "POST",
        path: "/tasks/t/call",
        error: new Error("a defect"),
        problem: String(problem["instance"]).replace("urn:uuid:", ""),
      },
    });
  });

  test("tells its stack only where the operator wants it", async () => {
    expect((await logged(true))["stack"]).toContain("a defect");
  });
});

describe("GET /nodes", () => {
  test("lists the roster", async () => {
    const node = {
      kind: "coxswain",
      id: "n",
      role: "work",
      version: "1.0.0",
      state: "alive",
      startedAt: "2030-01-01T00:00:00.000Z",
      intervalMs: 2_000,
    } as const;
    expect(await (await front({ nodes: [node] }).app.request("/nodes")).json()).toEqual([node]);
  });

  test("waits a second at most until others have told who they are", async () => {
    const clock = new FakeClock();
    const { app } = front({ settled: new Promise<void>(() => undefined), clock });
    const asked = Promise.resolve(app.request("/nodes"));
    clock.advance(1_000);
    expect(await (await asked).json()).toEqual([]);
  });
});

describe("GET /readyz", () => {
  const since = new Date("2030-01-01T00:00:00Z");
  const live = { queue: "q", isLive: true };
  const worker = { consumers: [live], running: 1, waiting: 2, isolates: 2, stuckIsolates: 0 };

  test("tells what the node does", async () => {
    const heartbeat = { count: 60, isBeating: true, lastBeaconAt: since };
    const health = { worker: () => worker, heartbeat: () => heartbeat };
    const { app } = front({ health });
    const response = await app.request("/readyz");
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({
      status: "ready",
      node: "test",
      broker: { kind: "connected" },
      calls: { isDirectorySettled: true, pendingCalls: 0 },
      worker,
      heartbeat: { count: 60, isBeating: true, lastBeaconAt: "2030-01-01T00:00:00.000Z" },
    });
  });

  const unready: [why: string, health: Partial<NodeHealth>, mentions: string][] = [
    [
      "the broker is away",
      { broker: () => ({ kind: "away", since, reason: "connection refused" }) },
      "2030-01-01T00:00:00.000Z: connection refused",
    ],
    [
      "the broker is blocked",
      { broker: () => ({ kind: "connected", since, blocked: "low on memory" }) },
      "low on memory",
    ],
    ["the broker is being connected", { broker: () => ({ kind: "idle" }) }, "being connected"],
    ["the broker is closed", { broker: (): BrokerHealth => ({ kind: "stopped" }) }, "closed"],
    [
      "the heartbeat is still",
      { heartbeat: () => ({ count: 3, isBeating: false }) },
      "The heartbeat does not beat",
    ],
    ["the node stops", { isStopping: () => true }, "stopping"],
    [
      "a consumer is lost",
      { worker: () => ({ ...worker, consumers: [live, { queue: "lost", isLive: false }] }) },
      'Queue "lost"',
    ],
    ["nothing is consumed", { worker: () => ({ ...worker, consumers: [] }) }, "No queue"],
  ];
  for (const [why, health, mentions] of unready) {
    test(`says that ${why}, on a front and on a worker`, async () => {
      const node: NodeHealth = {
        node: "test",
        broker: () => ({ kind: "connected", since }),
        ...health,
      };
      for (const app of [front({ health }).app, createHealthApp({ health: node })]) {
        const response = await app.request("/readyz");
        expect(response.status).toBe(503);
        expect(response.headers.has("retry-after")).toBe(true);
        const problem = await problemOf(response);
        expect(problem.type).toBe("/problems/not-ready");
        expect(problem.detail).toContain(mentions);
        expect(problem["problems"]).toHaveLength(1);
        expect((await app.request("/healthz")).status).toBe(200);
      }
    });
  }

  test("says that workers are still being asked", async () => {
    const { app } = front({ settled: new Promise(() => {}) });
    expect((await problemOf(await app.request("/readyz"))).detail).toContain("asked");
  });

  test("keeps the reasons from those without the token", async () => {
    const { app } = front({
      options: { token: "sesame" },
      health: { broker: () => ({ kind: "away", since, reason: "10.0.0.7 refused" }) },
    });
    const stranger = await app.request("/readyz");
    expect(stranger.status).toBe(503);
    expect(JSON.stringify(await problemOf(stranger))).not.toContain("10.0.0.7");
    const known = await app.request("/readyz", { headers: { authorization: "Bearer sesame" } });
    expect((await problemOf(known)).detail).toContain("10.0.0.7");
  });
});

test("createHealthApp() has no other routes", async () => {
  const app = createHealthApp({
    health: { node: "w", broker: () => ({ kind: "connected", since: new Date() }) },
  });
  expect((await app.request("/tasks")).status).toBe(404);
  expect((await app.request("/healthz", { method: "POST" })).status).toBe(405);
});
