/** Lists, page by page. */
import { expect } from "bun:test";
import { BadCursorError, type JobFilter, type Store } from "../../../src/store/store.ts";
import { Life, START } from "../../jobs/job_lives.ts";
import { rejection } from "./life.ts";
import { ids, record, type SceneTest } from "./scene.ts";

export function listing(it: SceneTest): void {
  it("shows the youngest first, by creation and then by id", async (scene) => {
    const store = await scene.open();
    const lives = ["b", "c", "a"].map((id) => new Life({ id }).accepted());
    const older = new Life({ id: "z" }).accepted().events.map((event) => ({
      ...event,
      createdAt: START - 1,
    }));
    await store.recordEvents([...lives.flatMap(({ events }) => events), ...older]);
    expect(ids((await store.list({}, 10)).jobs)).toEqual(["c", "b", "a", "z"]);
  });

  it("filters by states, task and dead letters", async (scene) => {
    const store = await scene.open();
    const queued = new Life({ id: "1", task: "a" }).accepted();
    const done = new Life({ id: "2", task: "a" }).accepted().outcome();
    const running = new Life({ id: "3", task: "b" }).accepted().started();
    const dead = new Life({ id: "4", task: "b" }).accepted().started().deadLettered();
    await record(store, queued, done, running, dead);
    const list = async (filter: JobFilter) => ids((await store.list(filter, 10)).jobs);
    expect(await list({ task: "a" })).toEqual(["2", "1"]);
    expect(await list({ states: ["running", "queued"] })).toEqual(["3", "1"]);
    expect(await list({ states: [], task: "b" })).toEqual(["4", "3"]);
    expect(await list({ states: ["succeeded"], task: "b" })).toEqual([]);
    expect(await list({ states: ["failed", "failed"] })).toEqual(["4"]);
    expect(await list({ isDeadLetter: true })).toEqual(["4"]);
    expect(await list({ isDeadLetter: true, task: "a" })).toEqual([]);
    expect(await list({ isDeadLetter: true, states: ["succeeded"] })).toEqual([]);
  });

  it("shows summaries, without what may be large", async (scene) => {
    const store = await scene.open();
    await record(store, new Life().accepted().started().outcome());
    const { jobs: [job] } = await store.list({}, 1);
    expect(job).toMatchObject({ state: "succeeded", attempts: [{ attempt: 1 }] });
    expect(Object.keys(job ?? {})).not.toContain("payload");
    expect(Object.keys(job ?? {})).not.toContain("resultJson");
  });

  for (const filter of [{}, { task: "demo.add" }, { isDeadLetter: true }] as const) {
    it(`pages meet each job once, whatever comes between: ${JSON.stringify(filter)}`, async (scene) => {
      const store = await scene.open();
      const all = numbered("m", 25).map((life) => life.deadLettered());
      await record(store, ...all);
      const seen: string[] = [];
      let cursor: string | undefined;
      let turn = 0;
      do {
        const page = await store.list(filter, 10, cursor);
        seen.push(...ids(page.jobs));
        cursor = page.cursor;
        // Younger ones come, and those on later pages go on.
        await record(store, new Life({ id: `n${turn++}` }).accepted().deadLettered());
        await record(store, ...all.slice(0, 3).map((life) => life.started("late", true)));
      } while (cursor !== undefined);
      expect(seen).toEqual(ids(all).toReversed());
    });
  }

  it("the last page has no cursor, however full it is", async (scene) => {
    const store = await scene.open();
    await record(store, ...numbered("m", 4));
    const first = await store.list({}, 2);
    expect(first.cursor).toBeDefined();
    const second = await store.list({}, 2, first.cursor);
    expect(second.jobs).toHaveLength(2);
    expect(second.cursor).toBeUndefined();
    expect(await empty(store)).toEqual({ jobs: [] });
  });

  it("refuses a cursor that it did not make", async (scene) => {
    const store = await scene.open();
    for (const cursor of ["", "x", "2025", Buffer.from("a/b").toString("base64url")]) {
      expect(await rejection(store.list({}, 10, cursor))).toBeInstanceOf(BadCursorError);
    }
  });

  it("counts jobs by state, and dead letters", async (scene) => {
    const store = await scene.open();
    expect(await store.stats()).toEqual({
      byState: {
        scheduled: 0,
        queued: 0,
        running: 0,
        retrying: 0,
        succeeded: 0,
        failed: 0,
        timed_out: 0,
        expired: 0,
        cancelled: 0,
      },
      deadLetters: 0,
    });
    const dead = new Life().accepted().deadLettered();
    await record(store, new Life().accepted(), new Life().accepted().started(), dead);
    const { byState, deadLetters } = await store.stats();
    expect([byState.queued, byState.running, byState.failed, deadLetters]).toEqual([1, 1, 1, 1]);
    await record(store, dead.retried());
    const after = await store.stats();
    expect([after.byState.scheduled, after.byState.failed, after.deadLetters]).toEqual([1, 0, 0]);
  });
}

function numbered(prefix: string, count: number): Life[] {
  return Array.from(
    { length: count },
    (_, n) => new Life({ id: `${prefix}${String(n).padStart(3, "0")}` }).accepted(),
  );
}

function empty(store: Store): Promise<unknown> {
  return store.list({ states: ["expired"] }, 10);
}
