import { describe, expect, test } from "bun:test";
import { JOBS_EXCHANGE } from "../../src/broker/topology.ts";
import { newId } from "../../src/platform/ids.ts";
import { problemOf } from "../http/front.ts";
import { until } from "../support/waiting.ts";
import { FrontScene } from "./front_scene.ts";
import { Life } from "./job_lives.ts";

const LIMIT_MS = 20_000;

interface Frame {
  readonly id: string;
  readonly event: string;
  readonly data: { readonly state?: string; readonly [member: string]: unknown };
}

/** Reads an event stream frame by frame. */
class Stream {
  readonly frames: Frame[] = [];
  readonly comments: string[] = [];
  isEnded = false;
  readonly #abort = new AbortController();

  static async open(scene: FrontScene, id: string, lastEventId?: string): Promise<Stream> {
    const stream = new Stream();
    const response = await scene.get(`/jobs/${id}/events`, {
      headers: lastEventId === undefined ? {} : { "last-event-id": lastEventId },
      signal: stream.#abort.signal,
    });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    void stream.#read(response);
    return stream;
  }

  get told(): readonly string[] {
    return this.frames.map(({ event, data }) => data.state ?? `${event} ${data["fraction"]}`);
  }

  leave(): void {
    this.#abort.abort();
  }

  async #read(response: Response): Promise<void> {
    let text = "";
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) this.#take(block);
    }
    this.isEnded = true;
  }

  #take(block: string): void {
    const fields = new Map<string, string>();
    for (const line of block.split("\n")) {
      const [name = "", value = ""] = line.split(/: (.*)/s);
      fields.set(name, fields.has(name) ? `${fields.get(name)}\n${value}` : value);
    }
    const data = fields.get("data");
    if (data === undefined) return;
    const id = fields.get("id") ?? "";
    this.frames.push({ id, event: fields.get("event") ?? "", data: JSON.parse(data) });
  }
}

function life(): Life {
  return new Life({ at: Date.now() });
}

describe("GET /jobs/{id}?wait", () => {
  test("answers as soon as the job has ended, and many may wait", async () => {
    await using scene = await FrontScene.open({ works: true });
    const id = await scene.submit("obedient", [{ sleep: 300 }]);
    const startedAt = performance.now();
    const jobs = await Promise.all([1, 2, 3].map(() => scene.shown(id, "?wait=15s")));
    expect(jobs.map(({ state }) => state)).toEqual(["succeeded", "succeeded", "succeeded"]);
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    await until("nothing is watched", () => scene.jobs.watcher.size === 0);
  }, LIMIT_MS);

  test("answers with the job as it is when the wait is over", async () => {
    await using scene = await FrontScene.open();
    const id = await scene.submit("remembered", 1);
    expect((await scene.shown(id, "?wait=50ms")).state).toBe("queued");
    expect((await scene.shown(id, "?wait=0s")).state).toBe("queued");
  }, LIMIT_MS);

  test(
    "hears of an end that nobody has recorded, and of one that was recorded silently",
    async () => {
      await using scene = await FrontScene.open({ records: false });
      const told = await scene.submit("remembered", 1);
      const waiting = scene.shown(told, "?wait=15s");
      await until("it is watched", () => scene.jobs.watcher.size === 1);
      await scene.tell(...new Life({ id: told, at: Date.now() }).outcome().events);
      expect((await waiting).state).toBe("succeeded");

      const silent = life().accepted();
      await scene.store.recordEvents(silent.events);
      const waitingToo = scene.shown(silent.id, "?wait=15s");
      await until("it is watched", () => scene.jobs.watcher.size === 1);
      await scene.store.recordEvents(silent.outcome().events);
      expect((await waitingToo)["result"]).toBe(2);
    },
    LIMIT_MS,
  );

  test("refuses a wait that is none, and stops waiting with its client", async () => {
    await using scene = await FrontScene.open();
    const id = await scene.submit("remembered", 1);
    for (const wait of ["soon", "6m", ""]) {
      expect((await scene.get(`/jobs/${id}?wait=${wait}`)).status).toBe(400);
    }
    const client = new AbortController();
    const waiting = scene.get(`/jobs/${id}?wait=5m`, { signal: client.signal });
    await until("it is watched", () => scene.jobs.watcher.size === 1);
    client.abort();
    await waiting;
    expect(scene.jobs.watcher.size).toBe(0);
  }, LIMIT_MS);
});

describe("GET /jobs/{id}/events", () => {
  test("tells a job's life from what it is to its end, then ends", async () => {
    await using scene = await FrontScene.open({ works: true });
    const id = await scene.submit("obedient", [{ progress: 3, everyMs: 300 }]);
    const stream = await Stream.open(scene, id);
    await until("it has ended", () => stream.isEnded);
    expect(["queued", "running"]).toContain(stream.told[0] ?? "");
    expect(stream.told).toContain("running");
    expect(stream.told).toContain("progress 1");
    expect(stream.told.at(-1)).toBe("succeeded");
    expect(stream.frames.at(-1)?.data["result"]).toBe(3);
    for (const { id } of stream.frames) expect(id).toMatch(/^1\.\d+$/);
    expect(new Set(stream.frames.map(({ id }) => id)).size).toBe(stream.frames.length);
    expect(scene.jobs.watcher.size).toBe(0);
  }, LIMIT_MS);

  test("tells nothing twice, whether it was in the record or comes again", async () => {
    await using scene = await FrontScene.open();
    const job = life().accepted().started();
    await scene.store.recordEvents(job.events);
    const stream = await Stream.open(scene, job.id);
    await until("it tells what is", () => stream.frames.length === 1);
    await scene.tell(...job.events);
    await scene.tell(...job.events, ...job.outcome().events);
    await until("it has ended", () => stream.isEnded);
    expect(stream.told).toEqual(["running", "succeeded"]);
  }, LIMIT_MS);

  test("goes on after Last-Event-ID, and is 204 once the end is known", async () => {
    await using scene = await FrontScene.open();
    const job = life().accepted();
    await scene.store.recordEvents(job.events);
    const first = await Stream.open(scene, job.id);
    await until("it tells what is", () => first.frames.length === 1);
    first.leave();
    await until("it is let go", () => scene.jobs.watcher.size === 0);
    const again = await Stream.open(scene, job.id, first.frames[0]?.id);
    await until("it is watched", () => scene.jobs.watcher.size === 1);
    await scene.tell(...job.started().events, ...job.outcome().events);
    await until("it has ended", () => again.isEnded);
    expect(again.told).not.toContain("queued");
    expect(again.told.at(-1)).toBe("succeeded");
    await until("its end is recorded", async () => {
      return (await scene.store.get(job.id))?.state === "succeeded";
    });
    const last = again.frames.at(-1)?.id ?? "";
    const over = await scene.get(`/jobs/${job.id}/events`, { headers: { "last-event-id": last } });
    expect(over.status).toBe(204);
    const missed = await Stream.open(scene, job.id, first.frames[0]?.id);
    await until("it has ended", () => missed.isEnded);
    expect(missed.told).toEqual(["succeeded"]);
  }, LIMIT_MS);

  test("binds what is watched alone, once for all who watch it", async () => {
    await using scene = await FrontScene.open();
    const [one, other] = [life().accepted(), life().accepted()];
    await scene.store.recordEvents([...one.events, ...other.events]);
    const streams = await Promise.all([1, 2].map(() => Stream.open(scene, one.id)));
    const isRouted = async (key: string): Promise<boolean> =>
      await scene.broker.publish({
        exchange: JOBS_EXCHANGE.name,
        routingKey: key,
        properties: {},
        body: new TextEncoder().encode("[]"),
      }, { mandatory: true, confirm: true }) === "confirmed";
    await scene.broker.deleteQueue("cox.recorder");
    expect(await isRouted(`event.progress.${one.id}`)).toBe(true);
    expect(await isRouted(`event.progress.${other.id}`)).toBe(false);
    streams[0]?.leave();
    await until("one is let go", () => scene.jobs.watcher.size === 1);
    expect(await isRouted(`event.progress.${one.id}`)).toBe(true);
    expect(await isRouted("event.group")).toBe(true);
    streams[1]?.leave();
    await until("it is unbound", async () => !await isRouted(`event.progress.${one.id}`));
    await until("it is unbound", async () => !await isRouted("event.group"));
  }, LIMIT_MS);

  test("tells why a job cannot be followed", async () => {
    await using scene = await FrontScene.open({ maxWatches: 0 });
    const id = await scene.submit("remembered", 1);
    expect(await problemOf(await scene.get(`/jobs/${id}/events`))).toMatchObject({
      status: 503,
      type: "/problems/too-many-subscribers",
    });
    await using other = await FrontScene.open();
    expect((await other.get("/jobs/nonsense/events")).status).toBe(404);
    await using none = await FrontScene.open({ keeps: false });
    expect(await problemOf(await none.get(`/jobs/${newId()}/events`))).toMatchObject({
      type: "/problems/no-job-records",
    });
  }, LIMIT_MS);
});

describe("GET /jobs", () => {
  test("lists by state and task, the youngest first, page by page", async () => {
    await using scene = await FrontScene.open();
    const ids: string[] = [];
    for (let n = 0; n < 5; n++) ids.push(await scene.submit("remembered", n));
    const later = await scene.submit("remembered", 9, "?delay=1h");
    await until("all are recorded", async () => {
      return (await scene.store.getMany([...ids, later])).length === 6;
    });
    const listed: string[] = [];
    let path: string | undefined =
      "/jobs?state=queued,running&state=retrying&task=remembered&limit=2";
    let pages = 0;
    while (path !== undefined) {
      const page = await scene.get(path);
      expect(page.status).toBe(200);
      const jobs: { id: string; state: string }[] = await page.json();
      listed.push(...jobs.map(({ id }) => id));
      path = /^<(.+)>; rel="next"$/.exec(page.headers.get("link") ?? "")?.[1];
      pages++;
    }
    expect(listed).toEqual(ids.toReversed());
    expect(pages).toBe(3);
    expect((await (await scene.get("/jobs?state=scheduled")).json())[0]).toMatchObject({
      id: later,
      state: "scheduled",
    });
    expect(await (await scene.get("/jobs?task=another")).json()).toEqual([]);
  }, LIMIT_MS);

  test("refuses what it does not know, and says where no records are kept", async () => {
    await using scene = await FrontScene.open();
    for (const query of ["state=lost", "limit=0", "limit=1001", "cursor=x", "sort=asc", "task="]) {
      expect((await scene.get(`/jobs?${query}`)).status).toBe(400);
    }
    await scene.store.close();
    expect((await problemOf(await scene.get("/jobs"))).type).toBe("/problems/store-away");
    await using none = await FrontScene.open({ keeps: false });
    expect((await problemOf(await none.get("/jobs"))).type).toBe("/problems/no-job-records");
  }, LIMIT_MS);
});
