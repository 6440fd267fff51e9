/** What waits for its time: delays, retries, expiries; and what must not run. */
import { expect } from "bun:test";
import { publishedEvent } from "../../../src/jobs/job_event.ts";
import { Life, request, START } from "../../jobs/job_lives.ts";
import { ids, record, type SceneTest } from "./scene.ts";

export function waiting(it: SceneTest): void {
  it("tells whole jobs whose time has come, the longest due first", async (scene) => {
    const store = await scene.open();
    const late = new Life().scheduled(START + 300, request({ priority: 2 }, ["late"]));
    const early = new Life().scheduled(START + 100, request({}, ["early"]));
    const failed = new Life().accepted().started().retrying(200);
    const never = new Life().accepted();
    await record(store, late, early, failed, never);
    expect(await store.nextDueAt()).toBe(START + 100);
    expect(await store.due(START + 99, 10)).toEqual([]);
    expect(ids(await store.due(START + 100, 10))).toEqual([early.id]);
    const all = await store.due(START + 1_000, 10);
    expect(ids(all)).toEqual([early.id, failed.id, late.id]);
    expect(all[2]?.payload?.input.argsJson).toBe('["late"]');
    expect(all[2]?.terms?.priority).toBe(2);
    expect(ids(await store.due(START + 1_000, 2))).toEqual([early.id, failed.id]);
  });

  it("tells a job again until it is published", async (scene) => {
    const store = await scene.open();
    const [delayed, failed] = [
      new Life().scheduled(START + 100),
      new Life().accepted().started().retrying(100),
    ];
    await record(store, delayed, failed);
    const due = await store.due(START + 1_000, 10);
    expect(due).toHaveLength(2);
    expect(await store.due(START + 1_000, 10)).toEqual(due);
    await store.recordEvents(due.map((job) => publishedEvent(job, START + 1_000)));
    expect(await store.due(START + 1_000, 10)).toEqual([]);
    expect(await store.nextDueAt()).toBeUndefined();
    expect(await store.get(delayed.id)).toMatchObject({ state: "queued", attempt: 1 });
    expect(await store.get(failed.id)).toMatchObject({ state: "queued", attempt: 2 });
  });

  it("never tells a cancelled job as due", async (scene) => {
    const store = await scene.open();
    const life = new Life().scheduled(START + 100);
    await record(store, life);
    await store.recordEvents([life.cancelRequested().last]);
    expect(await store.due(START + 1_000, 10)).toEqual([]);
    expect(await store.nextDueAt()).toBeUndefined();
  });

  it("tells jobs that nobody began before they expired", async (scene) => {
    const store = await scene.open();
    const terms = { expiresAt: START + 1_000 };
    const queued = new Life().accepted(request(terms));
    const delayed = new Life().scheduled(START + 5_000, request({ expiresAt: START + 900 }));
    const running = new Life().accepted(request(terms)).started();
    const done = new Life().accepted(request(terms)).outcome();
    await record(store, queued, delayed, running, done, new Life().accepted());
    expect(await store.overdue(START + 899, 10)).toEqual([]);
    expect(ids(await store.overdue(START + 1_000, 10))).toEqual([delayed.id, queued.id]);
    expect(ids(await store.overdue(START + 1_000, 1))).toEqual([delayed.id]);
    await record(store, queued.outcome({ kind: "expired" }), delayed.outcome({ kind: "expired" }));
    expect(await store.overdue(START + 1_000, 10)).toEqual([]);
  });

  it("tells which jobs must not run: asked lately, or perhaps still in a queue", async (scene) => {
    const store = await scene.open();
    const delayed = new Life().scheduled(START + 9_000).cancelRequested();
    const inQueue = new Life().accepted().cancelRequested();
    const running = new Life().accepted().started().cancelRequested();
    await record(store, delayed, inQueue, running, new Life().accepted());
    const all = [delayed.id, inQueue.id, running.id].toSorted();
    expect([...await store.cancelledIds(START)].toSorted()).toEqual(all);
    const later = START + 1_000_000;
    expect([...await store.cancelledIds(later)].toSorted())
      .toEqual([inQueue.id, running.id].toSorted());
    await record(
      store,
      inQueue.outcome({ kind: "cancelled" }),
      running.outcome({ kind: "cancelled" }),
    );
    expect(await store.cancelledIds(later)).toEqual([]);
    expect([...await store.cancelledIds(START)].toSorted()).toEqual(all);
  });
}
