/** Events become records. */
import { expect } from "bun:test";
import fc from "fast-check";
import type { Job } from "../../../src/jobs/job.ts";
import type { JobEvent } from "../../../src/jobs/job_event.ts";
import { applyEvent } from "../../../src/jobs/states.ts";
import { newId } from "../../../src/platform/ids.ts";
import { disorderly, Life, lives, request } from "../../jobs/job_lives.ts";
import { ids, record, type SceneTest } from "./scene.ts";

export function recording(it: SceneTest): void {
  it("makes the same of events as the transition function, however they are batched", async (scene) => {
    const store = await scene.open();
    const run = fc.tuple(
      fc.array(lives, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 9 }),
    )
      .chain(([several, size]) => {
        const events = several.flatMap((events) => {
          const id = newId();
          return events.map((event): JobEvent => ({ ...event, id }));
        });
        return fc.tuple(disorderly(events), fc.constant(size));
      });
    await fc.assert(
      fc.asyncProperty(run, async ([events, size]) => {
        const expected = new Map<string, Job>();
        for (const event of events) {
          expected.set(event.id, applyEvent(expected.get(event.id), event));
        }
        for (let at = 0; at < events.length; at += size) {
          await store.recordEvents(events.slice(at, at + size));
        }
        for (const [id, job] of expected) expect(await store.get(id)).toEqual(job);
      }),
      { numRuns: 40 },
    );
  });

  it("gives back each job that the batch spoke of, once, as it is now", async (scene) => {
    const store = await scene.open();
    const [a, b] = [new Life().accepted(), new Life().accepted().started()];
    await record(store, a);
    const [first, second, ...others] = await store.recordEvents([
      ...b.events,
      ...a.started().outcome().events,
    ]);
    expect(others).toEqual([]);
    expect(first).toMatchObject({ id: b.id, state: "running" });
    expect(second).toMatchObject({ id: a.id, state: "succeeded", resultJson: "2" });
    expect(await store.recordEvents([])).toEqual([]);
  });

  it("changes nothing by events that were recorded before", async (scene) => {
    const store = await scene.open();
    const life = new Life().accepted().started().retrying().published().started().outcome();
    await record(store, life);
    const before = await store.get(life.id);
    const stats = await store.stats();
    await record(store, life);
    await record(store, life);
    expect(await store.get(life.id)).toEqual(before);
    expect(await store.stats()).toEqual(stats);
  });

  it("keeps any text as it is", async (scene) => {
    const store = await scene.open();
    const odd = '{"a":9007199254740993,"b":"\\u0000 ’ \\ud800 \u{1f980}","":[1e400,-0]}';
    const life = new Life({ task: "größe.\u{1f980}" })
      .accepted({
        terms: { priority: 3, expiresAt: 4e12, uniqueKey: "k'\"\\ü" },
        payload: {
          input: { argsJson: `[${odd}]`, kwargsJson: odd },
          embedJson: '{"chain":null}',
          headers: { "x-\u{1f980}": "a\u0000b" },
          wireJson: '{"x":1}',
        },
      })
      .started("node \u{1f980}")
      .outcome({ kind: "succeeded", resultJson: odd });
    await record(store, life);
    const job = await store.get(life.id);
    expect(job?.resultJson).toBe(odd);
    expect(job?.payload).toEqual({
      input: { argsJson: `[${odd}]`, kwargsJson: odd },
      embedJson: '{"chain":null}',
      headers: { "x-\u{1f980}": "a\u0000b" },
      wireJson: '{"x":1}',
    });
    expect(job).toMatchObject({ task: "größe.\u{1f980}", node: "node \u{1f980}" });
    expect(job?.terms).toEqual({ priority: 3, expiresAt: 4e12, uniqueKey: "k'\"\\ü" });

    const failing = new Life().accepted().started().outcome({
      kind: "failed",
      error: { type: "E\u0000", message: "\ud800\u0000", stack: "at \u0000" },
    });
    await record(store, failing);
    expect((await store.get(failing.id))?.error)
      .toEqual({ type: "E\u0000", message: "\ud800\u0000", stack: "at \u0000" });
  });

  it("leaves a result out that is too large, and says how large it was", async (scene) => {
    const store = await scene.open({ maxResultBytes: 1_000 });
    const fits = JSON.stringify("x".repeat(998));
    const large = JSON.stringify("x".repeat(999));
    const [small, big] = [
      new Life().accepted().outcome({ kind: "succeeded", resultJson: fits }),
      new Life().accepted().outcome({ kind: "succeeded", resultJson: large }),
    ];
    await record(store, small, big);
    expect((await store.get(small.id))?.resultJson).toBe(fits);
    const job = await store.get(big.id);
    expect(job).toMatchObject({ state: "succeeded", omittedResultBytes: 1_001 });
    expect(job?.resultJson).toBeUndefined();
  });

  it("keeps a large request and result whole", async (scene) => {
    const store = await scene.open();
    const text = "ü".repeat(400_000);
    const life = new Life().accepted(request({}, [text])).started()
      .outcome({ kind: "succeeded", resultJson: JSON.stringify(text) });
    await record(store, life);
    const job = await store.get(life.id);
    expect(job?.payload?.input.argsJson).toBe(JSON.stringify([text]));
    expect(job?.resultJson).toBe(JSON.stringify(text));
  });

  it("forgets the result of the round before when an operator tries a job again", async (scene) => {
    const store = await scene.open();
    const life = new Life().accepted().started().outcome();
    await record(store, life);
    await store.recordEvents([life.retried().last]);
    const again = await store.get(life.id);
    expect(again).toMatchObject({ state: "scheduled", attempt: 2 });
    expect(again?.resultJson).toBeUndefined();
    expect(again?.payload).toBeDefined();
    await store.recordEvents([
      life.published().last,
      life.outcome({ kind: "succeeded", resultJson: "3" }).last,
    ]);
    expect((await store.get(life.id))?.resultJson).toBe("3");
  });

  it("keeps a result though news of the job come after it", async (scene) => {
    const store = await scene.open();
    const life = new Life().accepted().started().outcome();
    await record(store, life);
    const [told] = await store.recordEvents([life.started("late", true).last]);
    expect(told?.resultJson).toBeUndefined();
    expect((await store.get(life.id))?.resultJson).toBe("2");
  });

  it("takes batches of thousands, and batches at the same time", async (scene) => {
    const store = await scene.open();
    const many = Array.from({ length: 2_000 }, () => new Life().accepted().started());
    await record(store, ...many);
    await Promise.all(many.slice(0, 100).map((life) => store.recordEvents(life.outcome().events)));
    expect((await store.stats()).byState).toMatchObject({ running: 1_900, succeeded: 100 });
  });

  it("finds jobs by their ids", async (scene) => {
    const store = await scene.open();
    const [a, b] = [new Life().accepted(), new Life().accepted()];
    await record(store, a, b);
    const found = await store.getMany([b.id, "not there", a.id]);
    expect(ids(found).toSorted()).toEqual([a.id, b.id].toSorted());
    expect(await store.getMany([])).toEqual([]);
    expect(await store.get("not there")).toBeUndefined();
  });
}
