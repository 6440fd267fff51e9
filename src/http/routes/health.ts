/**
 * `GET /healthz`: the process lives and its main thread answers. `GET /readyz`: it can do its work;
 * for those who share out requests. Both are open to everybody, for probes have no tokens; the
 * details are for those who may read.
 */
import type { Hono } from "hono";
import { type FrontHealth, type NodeHealth, obstacles, warnings } from "../health.ts";
import type { AppEnv, Fail } from "../exchange.ts";
import { VERSION } from "../../version.ts";

export interface HealthRoutes {
  readonly health: NodeHealth;
  /** Where the node calls tasks. */
  readonly front?: () => FrontHealth;
  /** Whether this client may know more than yes or no. */
  readonly mayRead: (request: Request) => boolean;
  readonly fail: Fail;
}

export function addHealthRoutes(app: Hono<AppEnv>, routes: HealthRoutes): void {
  const { health, front, mayRead, fail } = routes;

  app.get("/healthz", () => Response.json({ status: "ok" }));

  app.get("/readyz", ({ req }) => {
    const calls = front?.();
    const problems = obstacles(health, calls);
    const isReady = problems.length === 0;
    if (!mayRead(req.raw)) {
      return isReady
        ? Response.json({ status: "ready" })
        : fail({ name: "not-ready", detail: "The details need a token" });
    }
    const events = health.jobEvents?.();
    const warned = warnings(health);
    const facts = {
      node: health.node,
      version: VERSION,
      broker: health.broker(),
      ...(health.heartbeat === undefined ? {} : { heartbeat: health.heartbeat() }),
      ...(calls === undefined ? {} : { calls }),
      ...(health.worker === undefined ? {} : { worker: health.worker() }),
      ...(health.recorder === undefined ? {} : { recorder: health.recorder() }),
      ...(events === undefined ? {} : { jobEvents: events }),
      ...(warned.length === 0 ? {} : { warnings: warned }),
    };
    return isReady
      ? Response.json({ status: "ready", ...facts })
      : fail({ name: "not-ready", detail: problems.join(". "), members: { problems, ...facts } });
  });
}
