/**
 * The HTTP applications of a node, without a socket: a front's, and the small one by which a worker
 * tells its health. The composition root gives them to a server.
 *
 * Kept thin: one look at who may come in, then the route. What a route throws becomes a 500 problem
 * here and nowhere else.
 */
import { getLogger } from "@logtape/logtape";
import { Hono } from "hono";
import type { Caller } from "../calls/call.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { JobServices } from "../jobs/job_services.ts";
import type { Exchanges } from "../messages/exchanges.ts";
import type { Queues } from "../messages/queues.ts";
import type { DeviceCommands, DeviceList } from "../devices/devices.ts";
import type { TaskDirectory } from "../nodes/announcement.ts";
import { newId as newUuid } from "../platform/ids.ts";
import type { DeviceStore } from "../store/device_store.ts";
import { type AppEnv, type Fail, rawPath } from "./exchange.ts";
import { browserFields } from "./browser_fields.ts";
import { createGuard } from "./guard.ts";
import type { NodeHealth } from "./health.ts";
import { allowedMethods } from "./methods.ts";
import { problemResponse, shortened } from "./problems.ts";
import { addAcceptRoutes } from "./routes/accept_jobs.ts";
import { addChannelRoutes } from "./routes/channels.ts";
import type { Channels } from "../pubsub/channels.ts";
import { addCallRoute } from "./routes/call.ts";
import { addDeadLetterRoutes } from "./routes/dead_letters.ts";
import { addDeviceCommandsRoute } from "./routes/device_commands.ts";
import { addDeviceRoutes } from "./routes/devices.ts";
import { addExchangesRoute } from "./routes/exchanges.ts";
import { addHealthRoutes } from "./routes/health.ts";
import { addIndexRoutes } from "./routes/index.ts";
import { addJobChangeRoutes } from "./routes/job_changes.ts";
import { addJobEventsRoute } from "./routes/job_events.ts";
import { addJobRoutes } from "./routes/jobs.ts";
import { addNodesRoute, type NodeList } from "./routes/nodes.ts";
import { addParallelRoute } from "./routes/parallel.ts";
import { addQueuesRoutes } from "./routes/queues.ts";
import { addScheduleRoutes } from "./routes/schedules.ts";
import { addTasksRoute } from "./routes/tasks.ts";

const log = getLogger(["coxswain", "http"]);

/** The part of a front's configuration that its routes need. */
export interface HttpOptions {
  /** What the front listens on: on loopback without a token, `Host` must be loopback too. */
  readonly host: string;
  /** Who sends it may do everything. */
  readonly token?: string;
  /** Who sends it may read. */
  readonly readToken?: string;
  readonly maxBodyBytes: number;
  /** Whether answers carry stacks. */
  readonly exposeErrors: boolean;
}

export interface AppDeps {
  readonly caller: Caller;
  readonly directory: Pick<TaskDirectory, "list" | "settled" | "isSettled">;
  readonly nodes: NodeList;
  /** Absent: the application has no such routes. */
  readonly exchanges?: Exchanges;
  readonly queues?: Queues;
  readonly channels?: Pick<Channels, "publish" | "subscribe">;
  readonly jobs?: JobServices;
  readonly devices?: DeviceList;
  /** Absent: devices are listed, and cannot be commanded. */
  readonly deviceCommands?: DeviceCommands;
  /** What became of devices; absent: only those that are connected are known. */
  readonly deviceRecords?: DeviceStore;
  readonly health: NodeHealth;
  readonly options: HttpOptions;
  /** Makes the UUIDs that name single problems. */
  readonly newId?: () => string;
  readonly clock?: Clock;
}

export type HttpApp = Hono<AppEnv>;

/** A front's application. */
export function createApp(deps: AppDeps): HttpApp {
  const { caller, directory, nodes, exchanges, queues, channels, jobs, devices, health, options } =
    deps;
  const { newId = newUuid, clock = systemClock } = deps;
  const { maxBodyBytes, exposeErrors } = options;
  const { app, fail } = createBase(newId, exposeErrors);
  const guard = createGuard(options);

  addHealthRoutes(app, {
    health,
    front: () => ({ isDirectorySettled: directory.isSettled, pendingCalls: caller.pending }),
    mayRead: (request) => guard(request) === undefined,
    fail,
  });
  app.use("*", (c, next) => {
    const refusal = guard(c.req.raw);
    return refusal === undefined ? next() : Promise.resolve(fail(refusal));
  });
  addIndexRoutes(app, fail);
  addTasksRoute(app, directory, clock);
  addNodesRoute(app, nodes, directory, clock);
  addCallRoute(app, { caller, maxBodyBytes, exposeErrors, fail });
  addParallelRoute(app, { caller, maxBodyBytes, exposeErrors, fail });
  if (exchanges !== undefined) addExchangesRoute(app, { exchanges, maxBodyBytes, fail });
  if (queues !== undefined) addQueuesRoutes(app, { queues, directory, fail, clock });
  if (jobs !== undefined) {
    const format = { exposeErrors, redactOf: jobs.redactOf };
    addAcceptRoutes(app, { ...jobs, maxBodyBytes, fail, clock });
    addJobRoutes(app, { ...jobs, format, fail, clock });
    addJobChangeRoutes(app, { ...jobs, format, fail });
    addDeadLetterRoutes(app, { ...jobs, format, fail });
    addScheduleRoutes(app, { ...jobs, fail });
    addJobEventsRoute(app, { ...jobs, format, fail });
  }
  if (devices !== undefined) {
    const { deviceRecords } = deps;
    const kept = deviceRecords === undefined ? {} : { store: deviceRecords };
    addDeviceRoutes(app, { devices, ...kept, directory, fail, clock });
    const { deviceCommands } = deps;
    if (deviceCommands !== undefined) {
      addDeviceCommandsRoute(app, { devices: deviceCommands, maxBodyBytes, fail });
    }
  }
  if (channels !== undefined) addChannelRoutes(app, { channels, maxBodyBytes, fail, clock });
  return app;
}

export interface HealthAppDeps {
  readonly health: NodeHealth;
  readonly newId?: () => string;
}

/** A worker's application: `GET /healthz` and `GET /readyz`, open to whoever reaches its port. */
export function createHealthApp({ health, newId = newUuid }: HealthAppDeps): HttpApp {
  const { app, fail } = createBase(newId, false);
  addHealthRoutes(app, { health, mayRead: () => true, fail });
  return app;
}

function createBase(newId: () => string, exposeErrors: boolean): { app: HttpApp; fail: Fail } {
  const fail: Fail = (problem) => problemResponse(problem, `urn:uuid:${newId()}`);
  const app: HttpApp = new Hono<AppEnv>({ getPath: rawPath });
  app.use("*", browserFields);

  app.notFound((c) => {
    const { method, path } = c.req;
    const allowed = allowedMethods(app, path);
    if (allowed.length === 0) {
      return fail({ name: "not-found", detail: `There is no route ${shortened(path)}` });
    }
    const allow = allowed.join(", ");
    return fail({
      name: "method-not-allowed",
      detail: `${method} is not possible on ${shortened(path)}: there is ${allow}`,
      headers: { allow },
    });
  });

  app.onError((error, c) => {
    const id = newId();
    const { method, path } = c.req;
    log.error("A request failed: {error}", { method, path: shortened(path), error, problem: id });
    return problemResponse({
      name: "internal-error",
      detail: "Something went wrong in the front; its log tells more under this instance",
      ...(exposeErrors ? { members: { stack: error.stack ?? String(error) } } : {}),
    }, `urn:uuid:${id}`);
  });
  return { app, fail };
}
