/** The methods of Celery's remote control over a worker that is none: arguments in, answers out. */
import { describe, expect, test } from "bun:test";
import { DeclarationError } from "../../src/broker/errors.ts";
import { answer, answerJson, NO_ANSWER } from "../../src/celery/control/methods.ts";
import type {
  AddedBinding,
  ControlPanel,
  HeldRequest,
  RequestState,
} from "../../src/celery/control/panel.ts";
import { LogicalClock } from "../../src/celery/logical_clock.ts";
import { VERSION } from "../../src/version.ts";

const NAME = "coxswain@n1";

function held(state: RequestState, id: string, changes: Partial<HeldRequest> = {}): HeldRequest {
  return {
    state,
    id,
    priority: 3,
    info: () =>
      Promise.resolve({
        id,
        name: "t",
        args: [1],
        kwargs: {},
        type: "t",
        hostname: NAME,
        time_start: null,
        acknowledged: false,
        delivery_info: { exchange: "", routing_key: "q", priority: 3, redelivered: false },
        worker_pid: null,
      }),
    ...changes,
  };
}

/** A worker that writes down what it was told. */
class Panel implements ControlPanel {
  readonly name = NAME;
  readonly facts = { version: VERSION, conf: { broker_url: "amqp://u:********@h/" }, broker: {} };
  readonly figures = {
    total: { t: 4 },
    pid: 7,
    uptimeMs: 61_400,
    isolates: 2,
    slots: 4,
    maxTasksPerIsolate: undefined,
    prefetch: 9,
    rusage: { utime: 0.5 },
    memoryBytes: 50 * 2 ** 20,
  };
  readonly tasks = [
    { name: "b", queue: "q", timeoutMs: 5_000, isolation: "worker", retry: { limit: 2 } },
    { name: "a", queue: "q", timeoutMs: 1_500, softTimeoutMs: 500, isolation: "process" },
  ];
  held: readonly HeldRequest[] = [];
  revoked: { id: string; ageMs: number }[] = [];
  queues = ["q"];
  readonly told: unknown[] = [];
  tellsEvents = false;
  problem: string | undefined;
  failure: Error | undefined;
  shutDown?: () => void;

  revoke(ids: readonly string[], terminate: boolean): readonly string[] {
    this.told.push(["revoke", ids, terminate]);
    return ids.filter((id) => this.held.some((one) => one.id === id));
  }

  limit(task: string, limits: object): boolean {
    this.told.push(["limit", task, limits]);
    return this.tasks.some(({ name }) => name === task);
  }

  addQueue(queue: string, binding: AddedBinding): Promise<void> {
    if (this.failure) return Promise.reject(this.failure);
    this.told.push(["add", queue, binding]);
    return Promise.resolve();
  }

  cancelQueue(queue: string): Promise<void> {
    this.told.push(["cancel", queue]);
    return Promise.resolve();
  }

  resize(isolates: number): string | undefined {
    this.told.push(["resize", isolates]);
    return this.problem;
  }

  tellEvents(isWanted: boolean): Promise<boolean> {
    const isNew = this.tellsEvents !== isWanted;
    this.tellsEvents = isWanted;
    return Promise.resolve(isNew);
  }

  beat(): void {
    this.told.push("beat");
  }
}

function scene(changes: Partial<Panel> = {}) {
  const panel = Object.assign(new Panel(), changes);
  const clock = new LogicalClock();
  const ask = (method: string, args: Record<string, unknown> = {}) =>
    answer(method, args, { panel, clock, machineUptime: () => 1_000 });
  return { panel, clock, ask };
}

describe("methods that tell", () => {
  test("of the worker", async () => {
    const { ask, clock } = scene();
    expect(await ask("ping")).toEqual({ ok: "pong" });
    clock.adjust(41);
    expect(await ask("clock")).toEqual({ clock: 42 });
    expect(await ask("conf")).toEqual({ broker_url: "amqp://u:********@h/" });
    expect(await ask("report")).toEqual({
      ok: expect.stringMatching(/^\nsoftware -> coxswain:.*\nplatform -> [^]*\nbroker_url: "amqp/),
    });
    expect(await ask("memsample")).toBe("50.0MB");
    expect(await ask("stats")).toEqual({
      total: { t: 4 },
      pid: 7,
      clock: "42",
      uptime: 61,
      pool: {
        implementation: "coxswain:isolates",
        "max-concurrency": 4,
        processes: [7],
        isolates: 2,
        "max-tasks-per-child": "N/A",
        "put-guarded-by-semaphore": false,
        timeouts: [0, 0],
      },
      broker: {},
      prefetch_count: 9,
      rusage: { utime: 0.5 },
    });
    expect(await ask("active_queues")).toEqual([
      expect.objectContaining({ name: "q", routing_key: "q", no_ack: false }),
    ]);
  });

  test("of tasks, with what is asked of them", async () => {
    const { ask } = scene();
    expect(await ask("registered", { taskinfoitems: [] })).toEqual(["a", "b"]);
    expect(await ask("dump_tasks")).toEqual(["a", "b"]);
    const taskinfoitems = [
      "time_limit",
      "soft_time_limit",
      "max_retries",
      "rate_limit",
      "__proto__",
    ];
    expect(await ask("registered", { taskinfoitems })).toEqual([
      "a [time_limit=1.5 soft_time_limit=0.5]",
      "b [time_limit=5 max_retries=2]",
    ]);
  });

  test("of requests that are held", async () => {
    const { ask, panel } = scene();
    for (const method of ["active", "reserved", "scheduled", "dump_active", "dump_schedule"]) {
      expect(await ask(method)).toEqual([]);
    }
    panel.held = [
      held("active", "1"),
      held("reserved", "2"),
      held("scheduled", "3", { dueAt: Date.UTC(2030, 0, 1) }),
    ];
    expect(await ask("active")).toEqual([expect.objectContaining({ id: "1", args: [1] })]);
    expect(await ask("reserved")).toEqual([expect.objectContaining({ id: "2" })]);
    expect(await ask("scheduled")).toEqual([{
      eta: "2030-01-01T00:00:00.000+00:00",
      priority: 3,
      request: expect.objectContaining({ id: "3" }),
    }]);
    expect(await ask("query_task", { ids: ["1", "3", "4"] })).toEqual({
      "1": ["active", expect.objectContaining({ id: "1" })],
      "3": ["reserved", expect.objectContaining({ id: "3" })],
    });
    expect(await ask("query_task", { ids: "2" })).toEqual({
      "2": ["reserved", expect.objectContaining({ id: "2" })],
    });
    panel.revoked = [{ id: "x", ageMs: 5 }];
    expect(await ask("revoked")).toEqual(["x"]);
  });
});

describe("methods that steer", () => {
  test("revoke and terminate take one id or several", async () => {
    const { ask, panel } = scene({ held: [held("active", "1")] });
    expect(await ask("revoke", { task_id: "1", terminate: false, signal: null })).toEqual({
      ok: "tasks 1 flagged as revoked",
    });
    expect(await ask("revoke", { task_id: ["1", "2"], terminate: true, signal: "SIGKILL" }))
      .toEqual({ ok: "terminate: 1" });
    expect(await ask("terminate", { signal: "SIGTERM", task_id: ["2"] })).toEqual({
      ok: "terminate: tasks unknown",
    });
    expect(panel.told).toEqual([
      ["revoke", ["1"], false],
      ["revoke", ["1", "2"], true],
      ["revoke", ["2"], true],
    ]);
    expect(await ask("revoke", { task_id: [7] })).toEqual({
      error: "TypeError('task_id must be texts, got 7')",
    });
  });

  test("limits", async () => {
    const { ask, panel } = scene();
    const done = { ok: "time limits set successfully" };
    expect(await ask("time_limit", { task_name: "a", soft: 30.5, hard: 60 })).toEqual(done);
    expect(await ask("time_limit", { task_name: "a", soft: null })).toEqual(done);
    expect(await ask("time_limit", { task_name: "x", hard: 1 })).toEqual({ error: "unknown task" });
    expect(panel.told.slice(0, 2)).toEqual([
      ["limit", "a", { softMs: 30_500, hardMs: 60_000 }],
      ["limit", "a", {}],
    ]);
    for (const hard of [0, -1, "5", 1e10, {}]) {
      expect(await ask("time_limit", { task_name: "a", hard })).toEqual({
        error: expect.stringMatching(/^TypeError\('hard must be seconds/),
      });
    }
    expect(await ask("time_limit")).toEqual({
      error: "TypeError('task_name must be a text, got nothing')",
    });
    expect(await ask("rate_limit", { task_name: "a", rate_limit: "10/m" })).toEqual({
      error: expect.stringContaining("not supported"),
    });
    expect(await ask("rate_limit", { task_name: "a", rate_limit: "0" })).toEqual({
      ok: "new rate limit set successfully",
    });
    expect(await ask("rate_limit", { task_name: "a", rate_limit: null })).toEqual({
      ok: "rate limit disabled successfully",
    });
  });

  test("queues", async () => {
    const { ask, panel } = scene();
    expect(await ask("add_consumer", { queue: "x" })).toEqual({ ok: "add consumer x" });
    const full = { queue: "x", exchange: "e", exchange_type: "topic", routing_key: "a.#" };
    await ask("add_consumer", full);
    // What Celery's own client sends for a queue of a name alone.
    const own = { queue: "celery", exchange: "celery", exchange_type: "direct", routing_key: null };
    expect(await ask("add_consumer", own)).toEqual({ ok: "add consumer celery" });
    expect(await ask("cancel_consumer", { queue: "x" })).toEqual({
      ok: "no longer consuming from x",
    });
    expect(panel.told).toEqual([
      ["add", "x", {}],
      ["add", "x", { exchange: "e", exchangeType: "topic", routingKey: "a.#" }],
      ["add", "celery", { exchange: "celery", exchangeType: "direct" }],
      ["cancel", "x"],
    ]);
    panel.told.length = 0;
    for (
      const odd of [
        {},
        { queue: "" },
        { queue: "cox.dead" },
        { queue: "n1.celery.pidbox" },
        { queue: "x", exchange: "amq.topic" },
        { queue: "x", exchange: "celeryev" },
        { queue: "x", exchange_type: "x-odd" },
        { queue: "x\0" },
        { queue: "x", routing_key: 5 },
      ]
    ) {
      expect(await ask("add_consumer", odd)).toEqual({
        error: expect.stringMatching(/^(TypeError|ValueError)\(/),
      });
    }
    expect(panel.told).toEqual([]);
    panel.failure = new DeclarationError("no such exchange");
    expect(await ask("add_consumer", { queue: "x" })).toEqual({
      error: "DeclarationError('no such exchange')",
    });
  });

  test("the pool", async () => {
    const { ask, panel } = scene();
    expect(await ask("pool_grow", { n: 2 })).toEqual({ ok: "pool will grow" });
    expect(await ask("pool_shrink")).toEqual({ ok: "pool will shrink" });
    panel.problem = "too few";
    expect(await ask("pool_shrink", { n: 5 })).toEqual({ error: "too few" });
    expect(panel.told).toEqual([["resize", 2], ["resize", -1], ["resize", -5]]);
    for (const n of [0, -1, 1.5, "2", 1e9]) {
      expect(await ask("pool_grow", { n })).toMatchObject({ error: expect.any(String) });
    }
    expect(await ask("autoscale", { max: 4, min: 1 })).toEqual({
      error: "ValueError('Autoscale not enabled')",
    });
    expect(await ask("pool_restart")).toEqual({
      error: "ValueError('Pool restarts not enabled')",
    });
  });

  test("events", async () => {
    const { ask, panel } = scene();
    expect(await ask("enable_events")).toEqual({ ok: "task events enabled" });
    expect(await ask("enable_events")).toEqual({ ok: "task events already enabled" });
    expect(await ask("disable_events")).toEqual({ ok: "task events disabled" });
    expect(await ask("disable_events")).toEqual({ ok: "task events already disabled" });
    expect(await ask("heartbeat")).toBeNull();
    expect(panel.told).toEqual(["beat"]);
  });

  test("shutdown is refused unless it was allowed, and then gives no answer", async () => {
    const { ask, panel } = scene();
    expect(await ask("shutdown")).toEqual({ error: expect.stringContaining("--remote-shutdown") });
    panel.shutDown = () => panel.told.push("shut down");
    expect(await ask("shutdown")).toBe(NO_ANSWER);
    expect(panel.told).toEqual(["shut down"]);
  });
});

describe("hello", () => {
  test("tells revoked ids with float instants of this machine, and learns the other's", async () => {
    const { ask, panel } = scene({ revoked: [{ id: 'a"', ageMs: 500 }, { id: "b", ageMs: 0 }] });
    const json = answerJson(
      await ask("hello", { from_node: "w2@cap", revoked: { x: [12.5, "x"], y: [13.5, "y"] } }),
    );
    expect(JSON.parse(json)).toEqual({
      revoked: { 'a"': [999.5, 'a"'], b: [1_000, "b"] },
      clock: 1,
    });
    // Python would read 1000 as an integer, and refuse it.
    expect(json).toContain('"b":[1000.000000,');
    expect(panel.told).toEqual([["revoke", ["x", "y"], false]]);
  });

  test("says nothing to itself, and nothing odd harms it", async () => {
    const { ask, panel } = scene();
    expect(await ask("hello", { from_node: NAME, revoked: { x: 1 } })).toBeNull();
    expect(panel.told).toEqual([]);
    for (const revoked of [null, undefined, 7, ["x"], "x"]) {
      expect(answerJson(await ask("hello", { from_node: "w", revoked }))).toMatch(/^{"revoked":{}/);
    }
    panel.revoked = Array.from({ length: 20_000 }, (_, index) => ({ id: `${index}`, ageMs: 0 }));
    const told = JSON.parse(answerJson(await ask("hello", { from_node: "w" }))).revoked;
    expect(Object.keys(told)).toHaveLength(10_000);
    expect(told["19999"]).toBeDefined();
  });
});

test("unknown methods are errors, as in Celery", async () => {
  const { ask } = scene();
  expect(await ask("nosuchcmd")).toEqual({ error: "KeyError('nosuchcmd')" });
  for (const method of ["__proto__", "constructor", "toString", "", "it's"]) {
    expect(await ask(method)).toMatchObject({ error: expect.stringMatching(/^KeyError\(/) });
  }
  for (const method of ["memdump", "objgraph", "election"]) {
    expect(await ask(method)).toEqual({ error: `${method} is not supported by this worker` });
  }
  expect(answerJson(undefined)).toBe("null");
});
