/** `GET /`: what there is to ask for, and `GET /problems/{name}`: what a problem's type means. */
import type { Hono } from "hono";
import { VERSION } from "../../version.ts";
import type { AppEnv, Fail } from "../exchange.ts";
import { isProblemName, PROBLEMS, shortened } from "../problems.ts";

export function addIndexRoutes(app: Hono<AppEnv>, fail: Fail): void {
  app.get("/", () =>
    Response.json({
      name: "coxswain",
      version: VERSION,
      routes: app.routes
        .filter(({ method }) => method !== "ALL")
        .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`),
    }));

  app.get("/problems/:name", (c) => {
    const name = c.req.param("name");
    return isProblemName(name)
      ? Response.json({ type: `/problems/${name}`, ...PROBLEMS[name] })
      : fail({
        name: "not-found",
        detail: `No problem is called "${shortened(name)}"`,
      });
  });
}
