/** `GET /tasks`: what workers announce, sorted by name. */
import type { Hono } from "hono";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import type { TaskDirectory } from "../../nodes/announcement.ts";
import type { AppEnv } from "../exchange.ts";
import { settledOrLate } from "../settled.ts";

/** An element has a task's name, queue, limits and file, and the nodes that serve it now. */
export function addTasksRoute(
  app: Hono<AppEnv>,
  directory: Pick<TaskDirectory, "list" | "settled" | "isSettled">,
  clock: Clock = systemClock,
): void {
  app.get("/tasks", async () => {
    await settledOrLate(directory, clock);
    return Response.json(directory.list());
  });
}
