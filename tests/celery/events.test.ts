/** Events on `celeryev`: their fields as Celery's, and how they are sent. */
import { describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { CELERY_EVENTS_EXCHANGE } from "../../src/broker/topology.ts";
import {
  answeredEvent,
  retriedEvent,
  shownInput,
  shownJson,
  type TaskEvent,
  taskEventJson,
  workerEventJson,
} from "../../src/celery/events/event.ts";
import { EventSender, tellWherePossible } from "../../src/celery/events/event_sender.ts";
import { LogicalClock } from "../../src/celery/logical_clock.ts";
import type { Reply } from "../../src/calls/wire/reply_message.ts";
import { decodeTask, encodeTask } from "../../src/calls/wire/task_message.ts";
import { RequestTally } from "../../src/worker/request_tally.ts";
import type { TaskDescriptor } from "../../src/tasks/descriptor.ts";
import captured from "../fixtures/celery/events.json" with { type: "json" };
import { DataFolder } from "../broker/embedded/data_folder.ts";
import { deliveryOf } from "../support/deliveries.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { until } from "../support/waiting.ts";

const source = { hostname: "coxswain@n1", pid: 7, utcOffset: 0 };
const when = { clock: 3, atMs: 1_795_226_863_407 };

/** A request as a worker reads it. */
async function request(id: string, message = {}) {
  const delivery = deliveryOf(
    await encodeTask({
      id,
      task: "t",
      input: { argsJson: '[1,"a"]', kwargsJson: '{"k":true}' },
      kind: "job",
      queue: "q",
      headers: {},
      origin: "test",
      version: "1",
      ...message,
    }),
  );
  const decoded = decodeTask(delivery);
  if (decoded.kind !== "task") throw new Error(decoded.reason);
  return { delivery, task: decoded.task };
}

/** The members of an event that Celery's worker told. */
function membersOf(type: string): readonly string[] {
  const found = captured.find(({ event }) => event.type === type);
  if (found === undefined) throw new Error(`No ${type} was captured`);
  return Object.keys(found.event).toSorted();
}

describe("events have the members of Celery's", () => {
  test.each(["worker-online", "worker-heartbeat", "worker-offline"] as const)("%s", (type) => {
    const event = JSON.parse(
      workerEventJson(type, source, { active: 1, processed: 2, loadAverage: [0.123, 1, 2] }, {
        ...when,
        freqMs: 2_000,
        version: "1.2.3",
      }),
    );
    expect(Object.keys(event).toSorted()).toEqual([...membersOf(type)]);
    expect(event).toMatchObject({
      type,
      hostname: "coxswain@n1",
      timestamp: 1_795_226_863.407,
      freq: 2,
      active: 1,
      processed: 2,
      loadavg: [0.12, 1, 2],
      sw_ident: "coxswain",
      sw_ver: "1.2.3",
    });
  });

  test("task events", async () => {
    const { task } = await request("an-id");
    const events: TaskEvent[] = [
      { type: "task-received", task, args: "[1, 'a']", kwargs: "{'k': True}" },
      { type: "task-started" },
      { type: "task-succeeded", result: "3", runtimeMs: 250 },
      { type: "task-failed", exception: "ValueError('boom')", traceback: undefined },
      retriedEvent({ type: "E", message: "m" }),
      { type: "task-revoked", terminated: true, expired: false },
    ];
    for (const event of events) {
      const told = JSON.parse(taskEventJson(event, "an-id", source, when));
      expect(Object.keys(told).toSorted()).toEqual([...membersOf(event.type)]);
      expect(told).toMatchObject({ uuid: "an-id", clock: 3, timestamp: 1_795_226_863.407 });
    }
  });

  test("instants are seconds, for milliseconds would end Celery's workers", async () => {
    const { task } = await request("x", {
      etaAt: Date.UTC(2030, 0, 1),
      expires: { at: Date.UTC(2030, 0, 2), inMs: 1_000 },
      parent: { id: "p", rootId: "r" },
    });
    const received: TaskEvent = { type: "task-received", task, args: "", kwargs: "" };
    expect(JSON.parse(taskEventJson(received, "x", source, when))).toMatchObject({
      eta: "2030-01-01T00:00:00.000+00:00",
      expires: "2030-01-02T00:00:00.000+00:00",
      root_id: "r",
      parent_id: "p",
      retries: 0,
    });
  });
});

describe("what an ending is told as", () => {
  const error = { type: "ValueError", message: "boom" };
  const rows: readonly (readonly [Reply, number | undefined, object])[] = [
    [{ kind: "succeeded", resultJson: "[1]", headers: {} }, 5, {
      type: "task-succeeded",
      result: "[1]",
      runtimeMs: 5,
    }],
    [{ kind: "failed", error, headers: {} }, 5, {
      type: "task-failed",
      exception: "ValueError('boom')",
      traceback: undefined,
    }],
    [{ kind: "timed_out", limitMs: 1_500 }, 5, {
      type: "task-failed",
      exception: "TimeLimitExceeded('1.5')",
    }],
    [{ kind: "worker_lost", message: "gone" }, undefined, {
      type: "task-failed",
      exception: "WorkerLostError('gone')",
    }],
    [{ kind: "refused", message: "no" }, undefined, {
      type: "task-failed",
      exception: "ContentDisallowed('no')",
    }],
    [{ kind: "expired" }, undefined, { type: "task-revoked", terminated: false, expired: true }],
    [{ kind: "cancelled" }, undefined, { type: "task-revoked", terminated: false, expired: false }],
    [{ kind: "cancelled" }, 5, { type: "task-revoked", terminated: true, expired: false }],
  ];
  test.each(rows)("%p after %p", (reply, runtimeMs, event) => {
    expect(answeredEvent(reply, { runtimeMs, isResultRedacted: false })).toMatchObject(event);
  });

  test("a redacted result is not told", () => {
    const reply: Reply = { kind: "succeeded", resultJson: '"hush"', headers: {} };
    expect(JSON.stringify(answeredEvent(reply, { runtimeMs: 1, isResultRedacted: true })))
      .not.toContain("hush");
  });

  test("what is large or broken is not shown", () => {
    expect(shownJson(JSON.stringify("x".repeat(20_000)))).toBe("... (20002 characters)");
    expect(shownInput(new TextEncoder().encode("[[1],{},{}"))).toBeUndefined();
    expect(shownInput(new TextEncoder().encode("[[1],{}]"))).toBeUndefined();
    expect(shownInput(new Uint8Array(20_000))).toBeUndefined();
    expect(shownInput(new TextEncoder().encode('[[1],{"a":null},{}]'))).toEqual({
      args: "[1]",
      kwargs: "{'a': None}",
    });
  });
});

class Scene implements AsyncDisposable {
  readonly folder = new DataFolder();
  readonly clock = new FakeClock();
  readonly heard: { key: string; body: unknown }[] = [];
  readonly broker: Broker;
  readonly sender: EventSender;

  private constructor(broker: Broker, folder: DataFolder) {
    this.broker = broker;
    this.folder = folder;
    this.sender = new EventSender({
      broker,
      name: "coxswain@n1",
      logicalClock: new LogicalClock(),
      figures: () => ({ active: 1, processed: 2 }),
      clock: this.clock,
    });
  }

  static async open(): Promise<Scene> {
    const folder = new DataFolder();
    const broker = await folder.connect();
    const scene = new Scene(broker, folder);
    await broker.declareExchange(CELERY_EVENTS_EXCHANGE);
    const queue = await broker.openPrivateQueue({
      prefix: "test.",
      bindings: [{ exchange: CELERY_EVENTS_EXCHANGE.name, routingKey: "#" }],
    });
    void (async () => {
      for await (const { message } of queue) {
        const body: unknown = JSON.parse(new TextDecoder().decode(message.body));
        scene.heard.push({ key: message.routingKey, body });
      }
    })();
    return scene;
  }

  keys(): readonly string[] {
    return this.heard.map(({ key }) => key);
  }

  async hears(...keys: readonly string[]): Promise<void> {
    await until(`${keys} is heard`, () => keys.join() === this.keys().join());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sender.stop();
    await this.folder[Symbol.asyncDispose]();
  }
}

describe("EventSender", () => {
  test("is silent until it is asked, beats, and says goodbye", async () => {
    await using scene = await Scene.open();
    const { sender, clock } = scene;
    sender.task("x", { type: "task-started" });
    sender.beat();
    clock.advance(10_000);
    expect(clock.timers).toBe(0);
    expect(await sender.tell(true)).toBe(true);
    expect(await sender.tell(true)).toBe(false);
    clock.advance(2_000);
    sender.beat();
    await scene.hears("worker.online", "worker.heartbeat", "worker.heartbeat");
    // As in Celery: the worker goes on beating.
    expect(await sender.tell(false)).toBe(true);
    expect(await sender.tell(false)).toBe(false);
    sender.task("x", { type: "task-started" });
    clock.advance(2_000);
    await sender.stop();
    await sender.stop();
    await scene.hears(
      ...["worker.online", "worker.heartbeat", "worker.heartbeat", "worker.heartbeat"],
      "worker.offline",
    );
    expect(clock.timers).toBe(0);
  });

  test("sends tasks' events in groups, in order, each worker's event alone", async () => {
    await using scene = await Scene.open();
    const { sender, clock } = scene;
    await sender.tell(true);
    for (let index = 0; index < 250; index++) sender.task(`${index}`, { type: "task-started" });
    clock.advance(20);
    await until("all are heard", () => groups().flat().length >= 100);
    clock.advance(20);
    await until("all are heard", () => groups().flat().length === 250);
    function groups() {
      return scene.heard.flatMap(({ body }) => Array.isArray(body) ? [body] : []);
    }
    expect(groups().flat().map(({ uuid }) => uuid)).toEqual(
      Array.from({ length: 250 }, (_, index) => `${index}`),
    );
    expect(groups().length).toBeLessThan(6);
    const clocks = groups().flat().map((event) => event.clock);
    expect(clocks).toEqual(clocks.toSorted((a, b) => a - b));
    expect(scene.heard.filter(({ key }) => key === "worker.online").map(({ body }) => body))
      .toEqual([expect.objectContaining({ type: "worker-online", active: 1, processed: 2 })]);
  });

  test("keeps no more than so many events for a broker that takes none", async () => {
    await using scene = await Scene.open();
    const never = new Proxy(scene.broker, {
      get: (target, name) => {
        if (name === "publish") return () => new Promise(() => undefined);
        const value: unknown = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const sender = new EventSender({
      broker: never,
      name: "n",
      logicalClock: new LogicalClock(),
      figures: () => ({ active: 0, processed: 0 }),
    });
    await sender.tell(true);
    for (let index = 0; index < 5_000; index++) sender.task("x", { type: "task-started" });
    // One group is on its way, and 2,000 wait.
    expect(sender.dropped).toBe(5_000 - 100 - 2_000);
    await sender.stop();
  });

  test("a worker goes on without where the exchange is another", async () => {
    await using folder = new DataFolder();
    const broker = await folder.connect();
    await broker.declareExchange({ name: CELERY_EVENTS_EXCHANGE.name, type: "fanout" });
    const sender = new EventSender({
      broker,
      name: "n",
      logicalClock: new LogicalClock(),
      figures: () => ({ active: 0, processed: 0 }),
    });
    expect(await tellWherePossible(sender)).toBe(false);
    expect(sender.tellsTasks).toBe(false);
    await sender.stop();
  });
});

describe("RequestTally", () => {
  const descriptor: TaskDescriptor = {
    name: "t",
    file: "t.ts",
    queue: "q",
    timeoutMs: 1_000,
    isolation: "worker",
  };

  test("counts without events, each request once however often it comes again", async () => {
    const tally = new RequestTally();
    const { task, delivery } = await request("1");
    tally.received(task, delivery, descriptor);
    tally.started(task);
    tally.settled(task, { kind: "give_back" }, { descriptor });
    const again = deliveryOf(delivery.message, { redelivered: true });
    for (let times = 0; times < 5; times++) tally.received(task, again, descriptor);
    expect(tally.processed).toBe(2);
    expect(tally.byTask).toEqual({ t: 2 });
  });

  test("tells what the sender shows of the arguments, or shows them, and nothing that is redacted", async () => {
    await using scene = await Scene.open();
    const tally = new RequestTally();
    tally.tell(scene.sender);
    await scene.sender.tell(true);
    const plain = await request("1");
    tally.received(plain.task, plain.delivery, descriptor);
    const redact = { input: true, result: true };
    tally.received((await request("2")).task, plain.delivery, { ...descriptor, redact });
    const { delivery } = await request("3");
    const { message } = delivery;
    const headers = { ...message.properties.headers, argsrepr: "(1,)", kwargsrepr: "{}" };
    const shown = deliveryOf({ ...message, properties: { ...message.properties, headers } });
    tally.received((await request("3")).task, shown, descriptor);
    const large = await request("4", {
      input: { argsJson: JSON.stringify(["x".repeat(100_000)]), kwargsJson: "{}" },
    });
    tally.received(large.task, large.delivery, descriptor);
    tally.settled(plain.task, { kind: "try_again", pauseMs: 0, headers: { retries: 1 } }, {
      descriptor,
    });
    tally.settled(plain.task, { kind: "try_again", pauseMs: 0, headers: { "cox-deaths": 1 } }, {
      descriptor,
    });
    scene.clock.advance(20);
    const told = () => scene.heard.flatMap(({ body }) => Array.isArray(body) ? body : []);
    await until("they are heard", () => told().length === 5);
    expect(told().map(({ args, kwargs }) => [args, kwargs]).slice(0, 4)).toEqual([
      ["[1, 'a']", "{'k': True}"],
      ["<redacted>", "<redacted>"],
      ["(1,)", "{}"],
      ["...", "..."],
    ]);
    expect(told()[4]).toMatchObject({ type: "task-retried", exception: "Retry()" });
  });
});
