/** `GET /tasks`: what workers announce, sorted by name. */
import type { Hono } from "hono";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import type { TaskDirectory } from "../../nodes/announcement.ts";
import type { AppEnv } from "../exchange.ts";

/** How long a front that has just connected waits for workers to answer before it lists. */
const SETTLE_MS = 1_000;

/** An element has a task's name, queue, limits and file, and the nodes that serve it now. */
export function addTasksRoute(
  app: Hono<AppEnv>,
  directory: Pick<TaskDirectory, "list" | "settled" | "isSettled">,
  clock: Clock = systemClock,
): void {
  app.get("/tasks", async () => {
    if (!directory.isSettled) await settledOrLate(directory, clock);
    return Response.json(directory.list());
  });
}

async function settledOrLate(
  directory: Pick<TaskDirectory, "settled">,
  clock: Clock,
): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = clock.after(SETTLE_MS, () => late.resolve());
  await Promise.race([directory.settled(), late.promise]);
  timer.cancel();
}
