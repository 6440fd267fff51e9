import { describe, expect, test } from "bun:test";
import { newId } from "../../src/platform/ids.ts";
import { problemOf } from "../http/front.ts";
import { until } from "../support/waiting.ts";
import { FrontScene } from "./front_scene.ts";

const LIMIT_MS = 30_000;

async function recorded(scene: FrontScene, id: string): Promise<void> {
  await until("it is recorded", async () => await scene.store.get(id) !== undefined);
}

/** A job that failed with no attempt left. @returns its id, once it is a dead letter in the store. */
async function failed(scene: FrontScene, message = "broken"): Promise<string> {
  const id = await scene.submit("obedient", [{ throw: message }], "?retries=0");
  await until("it is a dead letter", async () => {
    return (await scene.store.get(id))?.deadLetter !== undefined;
  });
  return id;
}

describe("DELETE /jobs/{id}", () => {
  test("cancels a delayed job and a waiting one, which never run", async () => {
    await using scene = await FrontScene.open();
    const delayed = await scene.submit("obedient", [{ return: 1 }], "?delay=300ms&queue=obedient");
    const waiting = await scene.submit("obedient", [{ return: 2 }], "?queue=obedient");
    for (const id of [delayed, waiting]) {
      await recorded(scene, id);
      const response = await scene.delete(`/jobs/${id}`);
      expect(response.status).toBe(200);
      expect(await response.json()).toMatchObject({ did: "cancelled", id, state: "cancelled" });
    }
    await scene.work();
    const after = await scene.submit("obedient", [{ return: 3 }], "?delay=1s");
    expect((await scene.shown(after, "?wait=20s")).state).toBe("succeeded");
    for (const id of [delayed, waiting]) {
      const job = await scene.shown(id);
      expect(job.state).toBe("cancelled");
      expect(job["startedAt"]).toBeUndefined();
    }
    expect(await scene.depth()).toBe(0);
  }, LIMIT_MS);

  test("stops a running job", async () => {
    await using scene = await FrontScene.open({ works: true });
    const id = await scene.submit("obedient", [{ untilAborted: true }]);
    await until("it runs", async () => (await scene.shown(id)).state === "running");
    const response = await scene.delete(`/jobs/${id}`);
    expect(response.status).toBe(202);
    expect((await response.json()).did).toBe("stopping");
    // A task that returns in its grace time has done its work.
    expect(["cancelled", "succeeded"]).toContain((await scene.shown(id, "?wait=20s")).state);
  }, LIMIT_MS);

  test("does nothing to a finished job, and says so", async () => {
    await using scene = await FrontScene.open({ works: true });
    const id = await scene.submit("obedient", [{ return: 1 }]);
    await until("its end is recorded", async () => {
      return (await scene.store.get(id))?.state === "succeeded";
    });
    const response = await scene.delete(`/jobs/${id}`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ did: "nothing", id, state: "succeeded" });
    expect((await scene.delete(`/jobs/${newId()}`)).status).toBe(404);
  }, LIMIT_MS);
});

describe("POST /jobs/{id}/retry", () => {
  test("tries a failed job again as the same job, and refuses one that has not ended", async () => {
    await using scene = await FrontScene.open({ works: true });
    const id = await failed(scene);
    const response = await scene.post(`/jobs/${id}/retry`, "");
    expect(response.status).toBe(202);
    expect(response.headers.get("location")).toBe(`/jobs/${id}`);
    await until("it has failed again", async () => {
      const job = await scene.store.get(id);
      return job?.state === "failed" && job.attempt === 2;
    });
    expect((await scene.shown(id))["attempts"]).toHaveLength(2);
    const running = await scene.submit("obedient", [{ hang: true }]);
    await recorded(scene, running);
    const problem = await problemOf(await scene.post(`/jobs/${running}/retry`, ""));
    expect(problem).toMatchObject({ status: 409, type: "/problems/job-not-finished" });
    expect((await scene.post(`/jobs/${newId()}/retry`, "")).status).toBe(404);
    await scene.delete(`/jobs/${running}`);
  }, LIMIT_MS);
});

describe("/dead-letters", () => {
  test("are listed and shown with their stories, tried again and thrown away", async () => {
    await using scene = await FrontScene.open({ works: true });
    const ids = [await failed(scene, "one"), await failed(scene, "two"), await failed(scene, "3")];
    const [first = "", second = ""] = ids;
    const listed = await (await scene.get("/dead-letters?task=obedient&limit=10")).json();
    expect(listed.map(({ id }: { id: string }) => id)).toEqual(ids.toReversed());
    const shown = await (await scene.get(`/dead-letters/${first}`)).json();
    expect(shown).toMatchObject({
      id: first,
      state: "failed",
      error: { type: "ValueError", message: "one" },
      deadLetter: { attempt: 1 },
      input: [{ throw: "one" }],
      attempts: [{ attempt: 1, outcome: "failed", node: "front" }],
    });
    expect(shown.error.stack).toBeUndefined();

    expect((await scene.post(`/dead-letters/${first}/retry`, "")).status).toBe(202);
    await until("it is a dead letter again", async () => {
      return (await scene.store.get(first))?.deadLetter?.attempt === 2;
    });

    const retried = await (await scene.post("/dead-letters/retry?task=obedient", "")).json();
    expect(retried).toEqual({ retried: 3, refused: [] });
    await until("they are dead letters again", async () => {
      return (await scene.store.get(second))?.deadLetter?.attempt === 2 &&
        (await scene.store.get(first))?.deadLetter?.attempt === 3 &&
        (await scene.store.stats()).deadLetters === 3;
    });
    expect(await (await scene.delete("/dead-letters?task=another")).json()).toEqual({ deleted: 0 });
    expect(await (await scene.delete(`/dead-letters/${first}`)).json()).toEqual({ deleted: 1 });
    expect(await (await scene.delete("/dead-letters")).json()).toMatchObject({
      deleted: expect.any(Number),
    });
    // Each comes by two roads, as an event and as a message, which may be a moment late.
    await until("all are thrown away", async () => {
      await scene.delete("/dead-letters");
      return (await (await scene.get("/dead-letters")).json()).length === 0;
    });
    expect((await scene.delete(`/dead-letters/${newId()}`)).status).toBe(404);
  }, LIMIT_MS);

  test("a job that is none is not found among them", async () => {
    await using scene = await FrontScene.open();
    const id = await scene.submit("remembered", 1);
    await recorded(scene, id);
    for (const asked of [id, newId()]) {
      const problem = await problemOf(await scene.get(`/dead-letters/${asked}`));
      expect(problem.type).toBe("/problems/unknown-dead-letter");
      expect((await scene.post(`/dead-letters/${asked}/retry`, "")).status).toBe(404);
    }
  }, LIMIT_MS);
});

describe("/schedules", () => {
  test("are listed with their last and next firing, run now, paused and resumed", async () => {
    await using scene = await FrontScene.open();
    await scene.store.announceSchedules([{
      name: "nightly",
      spec: { kind: "every", everyMs: 3_600_000 },
      task: "remembered",
      input: "[1]",
      file: "tasks.ts",
      announcedAt: Date.now(),
      nextAt: Date.now() + 3_600_000,
    }]);
    const [listed] = await (await scene.get("/schedules")).json();
    expect(listed).toMatchObject({
      name: "nightly",
      task: "remembered",
      state: "active",
      input: [1],
      nextAt: expect.stringMatching(/Z$/),
    });
    const run = await scene.post("/schedules/nightly/run", "");
    expect(run.status).toBe(202);
    const { id } = await run.json();
    expect(run.headers.get("location")).toBe(`/jobs/${id}`);
    expect((await scene.shown(id)).task).toBe("remembered");
    const state = async (action: string) =>
      (await (await scene.post(`/schedules/nightly/${action}`, "")).json()).state;
    expect(await state("pause")).toBe("paused");
    expect(await state("pause")).toBe("paused");
    expect(await state("resume")).toBe("active");
    const problem = await problemOf(await scene.post("/schedules/daily/run", ""));
    expect(problem).toMatchObject({ status: 404, type: "/problems/unknown-schedule" });
  }, LIMIT_MS);
});

describe("a front that keeps no records, or whose store is away", () => {
  const changes = [
    ["DELETE", "/jobs/x"],
    ["POST", "/jobs/x/retry"],
    ["GET", "/dead-letters"],
    ["GET", "/dead-letters/x"],
    ["POST", "/dead-letters/retry"],
    ["DELETE", "/dead-letters"],
    ["GET", "/schedules"],
    ["POST", "/schedules/x/pause"],
  ] as const;

  test("says so on every route that needs them", async () => {
    await using none = await FrontScene.open({ keeps: false });
    await using away = await FrontScene.open({ records: false });
    await away.store.close();
    for (const [method, path] of changes) {
      const asked = (scene: FrontScene) => Promise.resolve(scene.app.request(path, { method }));
      expect((await problemOf(await asked(none))).type).toBe("/problems/no-job-records");
      expect((await problemOf(await asked(away))).type).toBe("/problems/store-away");
    }
  }, LIMIT_MS);
});
