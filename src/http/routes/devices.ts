/** `/devices`: who is connected to which node, and what became of whom. */
import type { Context, Hono } from "hono";
import type { Clock } from "../../lifecycle/clock.ts";
import type { TaskDirectory } from "../../nodes/announcement.ts";
import {
  type DeviceSources,
  listDevices,
  listHistory,
  readHistoryQuery,
  readListQuery,
  showDevice,
} from "../device_lists.ts";
import { bad, type Read } from "../body.ts";
import { type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import { type Problem, shortened } from "../problems.ts";
import { readQuery } from "../query.ts";
import { settledOrLate } from "../settled.ts";

export interface DeviceRoutes extends DeviceSources {
  readonly directory: Pick<TaskDirectory, "settled" | "isSettled">;
  readonly fail: Fail;
  readonly clock: Clock;
}

const PREFIX = "/devices/";

/**
 * `GET /devices?limit=&cursor=`: those that are online, an array of `{id, address, node, connectedAt,
 * lastSeenAt}`, sorted by id. With `?state=offline` or `all`, from the records: each with its `state`,
 * `changedAt` and, where it is offline, a `reason`.
 * `GET /devices/{id}`: one of them with its `state` and `history`, its last 20 changes, the last first.
 * `GET /devices/{id}/history?limit=&cursor=`: all of its changes that are kept.
 */
export function addDeviceRoutes(app: Hono<AppEnv>, routes: DeviceRoutes): void {
  const { directory, fail, clock } = routes;

  app.get("/devices", async (c) => {
    const query = readListQuery(c.req.raw.url);
    if ("problem" in query) return fail(query.problem);
    await settledOrLate(directory, clock);
    const page = await patiently(c, listDevices(routes, query.value));
    return "problem" in page ? fail(page.problem) : page.value;
  });

  app.get("/devices/:id", async (c) => {
    const id = deviceId(c);
    if ("problem" in id) return fail(id.problem);
    const query = readQuery(c.req.raw.url, []);
    if ("problem" in query) return fail(query.problem);
    await settledOrLate(directory, clock);
    const shown = await patiently(c, showDevice(routes, id.value));
    if ("problem" in shown) return fail(shown.problem);
    if (shown.value === undefined) return fail(unknownDevice(id.value));
    return Response.json(shown.value, { headers: { "cache-control": "no-store" } });
  });

  app.get("/devices/:id/history", async (c) => {
    const id = deviceId(c, "/history");
    if ("problem" in id) return fail(id.problem);
    const query = readHistoryQuery(c.req.raw.url);
    if ("problem" in query) return fail(query.problem);
    const page = await patiently(c, listHistory(routes, id.value, query.value));
    return "problem" in page ? fail(page.problem) : page.value;
  });
}

/** The id in a path that begins with `/devices/`. @param suffix what follows it. */
export function deviceId(c: Context<AppEnv>, suffix = ""): Read<string> {
  const { path } = c.req;
  const id = segment(path.slice(PREFIX.length, path.length - suffix.length));
  if ("problem" in id) return id;
  return id.value === "" ? { problem: bad("The path names no device") } : id;
}

export function unknownDevice(id: string): Problem {
  return {
    name: "unknown-device",
    detail: `There is no device "${shortened(id)}"`,
    members: { device: shortened(id) },
  };
}
