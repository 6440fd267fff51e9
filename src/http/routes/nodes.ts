/** `GET /nodes`: who is there, by their beacons, sorted by id. */
import type { Hono } from "hono";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import type { TaskDirectory } from "../../nodes/announcement.ts";
import type { KnownNode } from "../../nodes/roster.ts";
import type { AppEnv } from "../exchange.ts";
import { settledOrLate } from "../settled.ts";

/** What HTTP asks of the roster. */
export interface NodeList {
  list(): readonly KnownNode[];
}

/**
 * An element has a node's kind (`coxswain`, or `celery` for a worker of Celery's on the same broker), id,
 * role, version, state (`alive`, `late`, `gone`, `left`, `unknown`), `startedAt`, `intervalMs` and, from
 * its latest beacon, `lastBeaconAt`, `count`, `load` and `tasks`; a worker of Celery's has `pid`,
 * `processed` and `loadAverage` instead of `startedAt`, `count` and `tasks`.
 */
export function addNodesRoute(
  app: Hono<AppEnv>,
  nodes: NodeList,
  directory: Pick<TaskDirectory, "settled" | "isSettled">,
  clock: Clock = systemClock,
): void {
  app.get("/nodes", async () => {
    await settledOrLate(directory, clock);
    return Response.json(nodes.list());
  });
}
