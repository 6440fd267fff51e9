import { describe, expect, test } from "bun:test";
import type { QueueFailure, QueueInfo, Queues } from "../../src/messages/queues.ts";
import { front, post, problemOf } from "./front.ts";

const QUEUE: QueueInfo = {
  queue: "q",
  kind: "messages",
  messages: 3,
  consumers: 1,
  isPaused: false,
  nodes: ["n"],
  exchange: "e",
  keys: ["#"],
};

class Recorded implements Queues {
  readonly asked: unknown[] = [];
  failure: QueueFailure | undefined;

  list(): ReturnType<Queues["list"]> {
    return Promise.resolve(this.failure ?? { kind: "listed", queues: [QUEUE] });
  }

  setPaused(...given: [string, boolean]): ReturnType<Queues["setPaused"]> {
    this.asked.push(given);
    return Promise.resolve(this.failure ?? { kind: "done" });
  }

  purge(queue: string): ReturnType<Queues["purge"]> {
    this.asked.push(queue);
    return Promise.resolve(this.failure ?? { kind: "purged", messages: 7 });
  }
}

test("GET /queues lists them", async () => {
  const { app } = front({ queues: new Recorded() });
  expect(await (await app.request("/queues")).json()).toEqual([QUEUE]);
});

test("GET /queues waits for workers to tell what they take from", async () => {
  const settled = Promise.withResolvers<void>();
  const { app } = front({ queues: new Recorded(), settled: settled.promise });
  let isAnswered = false;
  const answer = Promise.resolve(app.request("/queues")).then((response) => {
    isAnswered = true;
    return response;
  });
  await Promise.resolve();
  expect(isAnswered).toBe(false);
  settled.resolve();
  expect((await answer).status).toBe(200);
});

describe("POST /queues/{queue}/…", () => {
  test("pauses, resumes and purges", async () => {
    const queues = new Recorded();
    const { app } = front({ queues });
    const answer = async (path: string) => await (await post(app, path, "")).json();
    expect(await answer("/queues/a%2Fb/pause")).toEqual({ queue: "a/b", isPaused: true });
    expect(await answer("/queues/q/resume")).toEqual({ queue: "q", isPaused: false });
    expect(await answer("/queues/q/purge")).toEqual({ queue: "q", purged: 7 });
    expect(queues.asked).toEqual([["a/b", true], ["q", false], "q"]);
  });

  const failures: readonly (readonly [QueueFailure, number, string])[] = [
    [{ kind: "unknown_queue", message: "m" }, 404, "unknown-queue"],
    [{ kind: "bad_name", message: "m" }, 400, "reserved-name"],
    [{ kind: "broker_away", message: "m" }, 503, "broker-away"],
  ];
  for (const [failure, status, name] of failures) {
    test(`tells ${failure.kind} as ${status}`, async () => {
      const queues = new Recorded();
      queues.failure = failure;
      const { app } = front({ queues });
      for (const action of ["pause", "resume", "purge"]) {
        const problem = await problemOf(await post(app, `/queues/q/${action}`, ""));
        expect(problem).toMatchObject({ status, type: `/problems/${name}`, queue: "q" });
      }
    });
  }

  test("takes the missing name to whoever judges names", async () => {
    const queues = new Recorded();
    queues.failure = { kind: "bad_name", message: "must not be empty" };
    const { app } = front({ queues });
    expect((await post(app, "/queues//pause", "")).status).toBe(400);
    expect(queues.asked).toEqual([["", true]]);
  });

  test("knows no other action, and no other method", async () => {
    const { app } = front({ queues: new Recorded() });
    expect((await post(app, "/queues/q/delete", "")).status).toBe(404);
    const wrong = await app.request("/queues/q/pause");
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get("allow")).toBe("POST");
  });
});
