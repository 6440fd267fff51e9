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
 * An element has a node's id, role, version, state (`alive`, `late`, `gone`, `left`, `unknown`),
 * `startedAt`, `intervalMs` and, from its latest beacon, `lastBeaconAt`, `count`, `load` and `tasks`.
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
