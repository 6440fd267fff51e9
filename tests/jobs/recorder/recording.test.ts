/** Events into the store: batches, bodies that nobody can read, a store that is away. */
import { expect, test } from "bun:test";
import { JOBS_EXCHANGE, RECORDER_QUEUE } from "../../../src/broker/topology.ts";
import { encodeJobEvents, type JobEvent } from "../../../src/jobs/job_event.ts";
import { newId } from "../../../src/platform/ids.ts";
import { StoreAwayError } from "../../../src/store/errors.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../../../src/store/store.ts";
import { until } from "../../support/waiting.ts";
import { outcome, RecorderScene, scheduled } from "./recorder_scene.ts";

const FAR = 3_600_000;
const later = (queue = "q") => scheduled(queue, Date.now() + FAR);

/** A store whose writes fail as the test says. */
function failing(store: Store, fails: (events: readonly JobEvent[]) => Error | undefined): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name === "recordEvents") {
        return (events: readonly JobEvent[]) => {
          const error = fails(events);
          return error === undefined ? target.recordEvents(events) : Promise.reject(error);
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

const publish = (scene: RecorderScene, body: Uint8Array) =>
  scene.broker.publish({
    exchange: JOBS_EXCHANGE.name,
    routingKey: "event.group",
    properties: { persistent: true },
    body,
  }, { confirm: true, mandatory: true });

const waiting = async (scene: RecorderScene) =>
  (await scene.broker.inspectQueue(RECORDER_QUEUE.name))?.messages;

test("what was told before there was a recorder is recorded, all of it", async () => {
  await using scene = await RecorderScene.open();
  const events = Array.from({ length: 3_000 }, () => later());
  for (const event of events.slice(0, 500)) await publish(scene, encodeJobEvents([event]));
  await scene.tell(...events.slice(500));
  await scene.record();
  await until(
    "all are recorded",
    async () => (await scene.store.stats()).byState.scheduled === events.length,
    20_000,
  );
  expect(await waiting(scene)).toBe(0);
  expect(scene.recorder.status).toMatchObject({ state: "recording", held: 0 });
}, 30_000);

test("listeners hear what became of jobs, after it is in the store", async () => {
  await using scene = await RecorderScene.start();
  const first = later();
  const heard: string[] = [];
  scene.recorder.watch((jobs) => {
    for (const { id, state } of jobs) if (id === first.id) heard.push(state);
  });
  await scene.tell(first);
  await scene.reached(first.id, "scheduled");
  await scene.tell(outcome(first));
  expect(await scene.reached(first.id, "succeeded")).toMatchObject({ resultJson: "42" });
  await until("both were heard", () => heard.length >= 2);
  expect(heard).toEqual(["scheduled", "succeeded"]);
});

test("what nobody can read is passed over, and its neighbours are not", async () => {
  await using scene = await RecorderScene.start();
  const [good, other] = [later(), later()];
  const text = new TextDecoder().decode(encodeJobEvents([good]));
  for (const body of ["{nonsense", "[]", '{"kind":"accepted"}', "null", "\u0000"]) {
    await publish(scene, new TextEncoder().encode(body));
  }
  await publish(scene, new Uint8Array([0xff, 0xfe]));
  await publish(scene, new TextEncoder().encode(`[{"kind":"of the future"},${text.slice(1)}`));
  await scene.tell(other);
  await scene.reached(good.id, "scheduled");
  await scene.reached(other.id, "scheduled");
  expect(await waiting(scene)).toBe(0);
});

test("while the store is away events wait, and all are recorded when it is back", async () => {
  let isAway = false;
  const away = () => isAway ? new StoreAwayError("it is away") : undefined;
  await using scene = await RecorderScene.open();
  const store = failing(new SqliteStore({ dataDir: scene.folder.file("store") }), away);
  await scene.record({ store });
  const before = later();
  await scene.tell(before);
  await scene.reached(before.id, "scheduled");
  isAway = true;
  const events = Array.from({ length: 500 }, () => later());
  for (const event of events) await publish(scene, encodeJobEvents([event]));
  await until("it says so", () => scene.recorder.status.obstacle === "it is away");
  expect(scene.recorder.status.held).toBeGreaterThan(0);
  // Far fewer are held than have come.
  await until("the rest waits in the broker", async () => (await waiting(scene) ?? 0) >= 250);
  isAway = false;
  await until(
    "all are recorded",
    async () => (await scene.store.stats()).byState.scheduled === events.length + 1,
    20_000,
  );
  expect(scene.recorder.status.obstacle).toBeUndefined();
}, 30_000);

test("what a stop finds held is recorded, or else comes again", async () => {
  let isAway = false;
  const away = () => isAway ? new StoreAwayError("it is away") : undefined;
  await using scene = await RecorderScene.open();
  const store = failing(new SqliteStore({ dataDir: scene.folder.file("store") }), away);
  await scene.record({ store });
  isAway = true;
  const event = later();
  await scene.tell(event);
  await until("it is held", () => scene.recorder.status.held === 1);
  await scene.recorder.stop(AbortSignal.timeout(100));
  expect(await waiting(scene)).toBe(1);
  isAway = false;
  await scene.record();
  await scene.reached(event.id, "scheduled");
});

test("an event that the store refuses is kept as a dead letter, and stops nobody", async () => {
  await using scene = await RecorderScene.open();
  const poison = later();
  const refused = (events: readonly JobEvent[]) =>
    events.some(({ id, kind }) => id === poison.id && kind === "scheduled")
      ? new Error("no such thing")
      : undefined;
  const store = failing(new SqliteStore({ dataDir: scene.folder.file("store") }), refused);
  const good = Array.from({ length: 100 }, () => later());
  await scene.tell(...good.slice(0, 50), poison, ...good.slice(50));
  await publish(scene, encodeJobEvents([poison]));
  await scene.record({ store });
  await until(
    "the others are recorded",
    async () => (await scene.store.stats()).byState.scheduled === good.length,
  );
  await until("it is a dead letter", async () => (await scene.store.stats()).deadLetters === 2);
  const { jobs: [letter] } = await scene.store.list({ isDeadLetter: true }, 10);
  expect(letter?.deadLetter?.reason).toContain("no such thing");
});

test("jobs that nobody began are ended when they expire, scheduled ones too", async () => {
  await using scene = await RecorderScene.start();
  const request = (expiresAt: number) => ({
    terms: { expiresAt },
    payload: { input: { argsJson: "[]", kwargsJson: "{}" }, headers: {} },
  });
  const queue = `q-${newId()}`;
  const soon = Date.now() + 300;
  const queued = scheduled(queue, 0, { request: request(soon) });
  const delayed = scheduled(queue, Date.now() + FAR, { request: request(soon) });
  const lasting = scheduled(queue, 0, { request: request(Date.now() + FAR) });
  await scene.tell(queued, delayed, lasting);
  await scene.reached(queued.id, "queued");
  const expired = await scene.reached(queued.id, "expired", 15_000);
  expect(expired.finishedAt).toBeGreaterThanOrEqual(soon);
  await scene.reached(delayed.id, "expired");
  await scene.reached(lasting.id, "queued");
});

test("records go when they are too old, dead letters later", async () => {
  await using scene = await RecorderScene.start({
    recorder: { keepResultsMs: 1_000, keepDeadLettersMs: 3_600_000 },
  });
  const jobs = Array.from({ length: 500 }, () => later());
  await scene.tell(...jobs, ...jobs.map((job) => outcome(job)));
  const [first] = jobs;
  if (first === undefined) throw new Error("There are no jobs");
  const { run: _run, outcome: _outcome, ...base } = outcome(first);
  await scene.tell({ ...base, kind: "dead_lettered", reason: "tired" });
  await scene.reached(first.id, "succeeded");
  await until("all but one are gone", async () => {
    return (await scene.store.list({}, 10)).jobs.length === 1;
  }, 20_000);
  expect((await scene.store.get(first.id))?.deadLetter?.reason).toBe("tired");
}, 30_000);
