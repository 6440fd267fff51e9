/** Schedules fire once, catch up once, never pile up, and stop with those who wanted them. */
import { describe, expect, test } from "bun:test";
import type { Job } from "../../../src/jobs/job.ts";
import { JobOperations } from "../../../src/jobs/operations.ts";
import { Schedules } from "../../../src/jobs/recorder/schedules.ts";
import { UNANNOUNCED_AFTER_MS } from "../../../src/jobs/schedules.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import { readCron, readEvery, type ScheduleDescriptor } from "../../../src/tasks/schedule.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { makeFolder } from "../../support/folders.ts";
import { until } from "../../support/waiting.ts";
import { Announced, outcome, RecorderScene } from "./recorder_scene.ts";

const MINUTE_MS = 60_000;
const START = Date.UTC(2030, 0, 1);

const everyMinute: ScheduleDescriptor = {
  name: "tidy",
  spec: readEvery("1m"),
  task: "tidy.up",
  input: '{"deep":true}',
  file: "tasks.ts",
};

async function stage() {
  const folder = await makeFolder();
  const clock = new FakeClock(START);
  const store = new SqliteStore({ dataDir: folder.path, clock });
  await store.open();
  const nodes = new Announced();
  nodes.list.push(everyMinute);
  const never = new AbortController().signal;
  const recorder = () => {
    const schedules = new Schedules({ store, nodes, clock, made: () => undefined });
    schedules.begin();
    return { turn: () => schedules.turn(never) };
  };
  return {
    clock,
    store,
    nodes,
    recorder,
    /** Turns as often as it takes, as the loop does. */
    async settle(...all: readonly { turn(): Promise<number> }[]) {
      for (const one of all) while (await one.turn() === 0);
    },
    async jobs(): Promise<readonly Job[]> {
      const { jobs } = await store.list({ task: "tidy.up" }, 1_000);
      const whole = await Promise.all(jobs.map(({ id }) => store.get(id)));
      return whole.flatMap((job) => job ?? []).toReversed();
    },
    /** All that there is ends well. */
    async finish() {
      for (const job of await this.jobs()) {
        if (job.state !== "scheduled") continue;
        await store.recordEvents([outcome({
          kind: "cancel_requested",
          id: job.id,
          task: job.task,
          queue: job.queue,
          createdAt: job.createdAt,
          attempt: 1,
          seq: job.createdAt,
          at: clock.now(),
        })]);
      }
    },
    async [Symbol.asyncDispose]() {
      await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

describe("a schedule", () => {
  test("fires at each of its instants, once for two recorders", async () => {
    await using at = await stage();
    const [one, two] = [at.recorder(), at.recorder()];
    await at.settle(one, two);
    expect(await at.jobs()).toHaveLength(0);
    for (let minute = 1; minute <= 5; minute++) {
      at.clock.advance(MINUTE_MS - 1);
      await at.settle(one, two);
      expect(await at.jobs()).toHaveLength(minute - 1);
      at.clock.advance(1);
      await Promise.all([at.settle(one), at.settle(two)]);
      expect(await at.jobs()).toHaveLength(minute);
      await at.finish();
    }
    const [job] = await at.jobs();
    expect(job).toMatchObject({
      task: "tidy.up",
      queue: "default",
      payload: {
        input: { argsJson: "[]", kwargsJson: '{"deep":true}' },
        headers: { "x-schedule": "tidy", "x-schedule-at": "2030-01-01T00:01:00.000Z" },
      },
    });
  });

  test("that missed many firings catches up one of them", async () => {
    await using at = await stage();
    await at.settle(at.recorder());
    at.clock.advance(60 * MINUTE_MS + 10_000);
    const after = at.recorder();
    await at.settle(after);
    expect(await at.jobs()).toHaveLength(1);
    const [schedule] = await at.store.schedules();
    expect(schedule?.nextAt).toBe(START + 61 * MINUTE_MS);
    await at.finish();
    at.clock.advance(50_000);
    await at.settle(after);
    expect(await at.jobs()).toHaveLength(2);
  });

  test("goes on when the clock is set back, and fires once when it is set forward", async () => {
    await using at = await stage();
    const recorder = at.recorder();
    await at.settle(recorder);
    at.clock.advance(MINUTE_MS);
    await at.settle(recorder);
    await at.finish();
    // It had been wrong by a year.
    at.clock.set(-365 * 24 * 60 * MINUTE_MS);
    await at.settle(recorder);
    expect(await at.jobs()).toHaveLength(1);
    for (let minute = 1; minute <= 3; minute++) {
      at.clock.advance(MINUTE_MS);
      await at.settle(recorder);
      expect(await at.jobs()).toHaveLength(1 + minute);
      await at.finish();
    }
    at.clock.set(60 * MINUTE_MS);
    await at.settle(recorder);
    expect(await at.jobs()).toHaveLength(5);
  });

  test("passes a firing over while its last job has not ended", async () => {
    await using at = await stage();
    const recorder = at.recorder();
    await at.settle(recorder);
    for (let minute = 0; minute < 5; minute++) {
      at.clock.advance(MINUTE_MS);
      await at.settle(recorder);
    }
    expect(await at.jobs()).toHaveLength(1);
    await at.finish();
    at.clock.advance(MINUTE_MS);
    await at.settle(recorder);
    expect(await at.jobs()).toHaveLength(2);
  });

  test("that nobody announces any more stops, and goes on when somebody does", async () => {
    await using at = await stage();
    const recorder = at.recorder();
    await at.settle(recorder);
    at.nodes.list.length = 0;
    // A deploy takes a while: it fires on.
    at.clock.advance(MINUTE_MS);
    await at.settle(recorder);
    expect(await at.jobs()).toHaveLength(1);
    await at.finish();
    at.clock.advance(UNANNOUNCED_AFTER_MS);
    await at.settle(recorder);
    const [stopped] = await at.store.schedules();
    expect(stopped?.nextAt).toBeUndefined();
    at.clock.advance(60 * MINUTE_MS);
    await at.settle(recorder);
    expect(await at.jobs()).toHaveLength(1);
    at.nodes.list.push(everyMinute);
    await at.settle(recorder);
    // What it missed while it was stopped is not caught up.
    expect(await at.jobs()).toHaveLength(1);
    at.clock.advance(MINUTE_MS);
    await at.settle(recorder);
    expect(await at.jobs()).toHaveLength(2);
  });

  test("does not fire from memory after a long absence before a node wants it", async () => {
    await using at = await stage();
    await at.settle(at.recorder());
    at.nodes.list.length = 0;
    at.clock.advance(2 * UNANNOUNCED_AFTER_MS);
    const recorder = at.recorder();
    await at.settle(recorder);
    expect(await at.jobs()).toHaveLength(0);
    at.nodes.list.push(everyMinute);
    await at.settle(recorder);
    expect(await at.jobs()).toHaveLength(1);
  });

  test("that cannot be used stops no other", async () => {
    await using at = await stage();
    at.nodes.list.unshift(
      { ...everyMinute, name: "bad input", input: "{" },
      { ...everyMinute, name: "bad cron", spec: { kind: "cron", expression: "61 * * * *" } },
    );
    await at.settle(at.recorder());
    expect((await at.store.schedules()).map(({ name }) => name)).toEqual(["tidy"]);
  });

  test("of the clock fires in its time zone, and ends with its last instant", async () => {
    await using at = await stage();
    at.nodes.list.splice(0, 1, {
      ...everyMinute,
      spec: readCron("30 3 * * *", "Europe/Berlin"),
    });
    await at.settle(at.recorder());
    expect((await at.store.schedules())[0]?.nextAt).toBe(START + 150 * MINUTE_MS);
  });
});

test("an operator runs, pauses and resumes a schedule", async () => {
  await using scene = await RecorderScene.open();
  scene.nodes.list.push({ ...everyMinute, spec: readEvery("1h") });
  await scene.record();
  const { broker, store, nodes } = scene;
  const operations = new JobOperations({ broker, store, directory: nodes });
  await until("it is known", async () => (await operations.schedules()).length === 1);
  expect(await operations.schedules()).toMatchObject([
    { name: "tidy", rhythm: "every 1h", state: "active", input: '{"deep":true}' },
  ]);
  const started = await operations.runSchedule("tidy");
  if (started.kind !== "started") throw new Error("It was not started");
  expect(await scene.reached(started.id, "queued")).toMatchObject({ task: "tidy.up" });

  const paused = await operations.pauseSchedule("tidy");
  expect(paused).toMatchObject({ kind: "done", schedule: { state: "paused" } });
  if (paused.kind === "done") expect(paused.schedule.nextAt).toBeUndefined();
  const resumed = await operations.resumeSchedule("tidy");
  expect(resumed).toMatchObject({ kind: "done", schedule: { state: "active" } });
  for (const ask of ["runSchedule", "pauseSchedule", "resumeSchedule"] as const) {
    expect(await operations[ask]("other")).toEqual({ kind: "unknown_schedule", name: "other" });
  }
});

test("a schedule of a second fires each second, within 100 ms", async () => {
  await using scene = await RecorderScene.open();
  const deliveries = await (async () => {
    await scene.broker.declareQueue({ name: "default" });
    return await scene.consume("default");
  })();
  scene.nodes.list.push({ ...everyMinute, spec: readEvery("1s") });
  await scene.record();
  for (let count = 1; count <= 3; count++) {
    await until("it has fired", () => deliveries.length >= count);
    const lateMs = Date.now() % 1_000;
    expect(lateMs).toBeLessThan(500);
    const id = String(deliveries.at(-1)?.message.properties.headers?.id);
    const job = await scene.reached(id, "queued");
    await scene.tell(outcome({ ...job, kind: "cancel_requested", seq: 0, at: 0 }));
    await scene.reached(id, "succeeded");
  }
});
