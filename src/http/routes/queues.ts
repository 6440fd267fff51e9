/** `GET /queues`: what waits where, and `POST /queues/{queue}/pause|resume|purge`. */
import type { Context, Hono } from "hono";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import type { QueueFailure, Queues } from "../../messages/queues.ts";
import type { TaskDirectory } from "../../nodes/announcement.ts";
import { addNameless, type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import type { Problem, ProblemName } from "../problems.ts";
import { settledOrLate } from "../settled.ts";

export interface QueueRoutes {
  readonly queues: Queues;
  readonly directory: Pick<TaskDirectory, "settled" | "isSettled">;
  readonly fail: Fail;
  readonly clock?: Clock;
}

/**
 * An element has the queue's name, what it is for, its depth, its consumers, whether it is paused, and
 * the nodes that take from it, with rates where their beacons tell them.
 */
export function addQueuesRoutes(app: Hono<AppEnv>, routes: QueueRoutes): void {
  const { queues, directory, fail, clock = systemClock } = routes;

  app.get("/queues", async (c) => {
    await settledOrLate(directory, clock);
    const listed = await patiently(c, queues.list());
    return listed.kind === "listed" ? Response.json(listed.queues) : fail(problemOf(listed));
  });

  const actions = {
    pause: async (queue: string) => {
      const ending = await queues.setPaused(queue, true);
      return ending.kind === "done" ? Response.json({ queue, isPaused: true }) : ending;
    },
    resume: async (queue: string) => {
      const ending = await queues.setPaused(queue, false);
      return ending.kind === "done" ? Response.json({ queue, isPaused: false }) : ending;
    },
    purge: async (queue: string) => {
      const ending = await queues.purge(queue);
      return ending.kind === "purged" ? Response.json({ queue, purged: ending.messages }) : ending;
    },
  } as const;

  for (const [action, act] of Object.entries(actions)) {
    const answer = async (c: Context<AppEnv>): Promise<Response> => {
      const queue = segment(c.req.path.slice("/queues/".length, -`/${action}`.length));
      if ("problem" in queue) return fail(queue.problem);
      const ending = await patiently(c, act(queue.value));
      return ending instanceof Response
        ? ending
        : fail({ ...problemOf(ending), members: { queue: queue.value } });
    };
    app.post(`/queues/:queue/${action}`, answer);
    addNameless(app, `/queues//${action}`, answer);
  }
}

const PROBLEM_OF: Readonly<Record<QueueFailure["kind"], ProblemName>> = {
  bad_name: "reserved-name",
  unknown_queue: "unknown-queue",
  broker_away: "broker-away",
};

function problemOf({ kind, message }: QueueFailure): Problem {
  return { name: PROBLEM_OF[kind], detail: message };
}
