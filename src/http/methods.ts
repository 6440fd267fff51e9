/** Which methods a path has: for 405 and its `Allow` field (RFC 9110, section 15.5.6). */
import type { Env, Hono } from "hono";
import { TrieRouter } from "hono/router/trie-router";

/** Empty where no route has the path. Only for requests that found no route: it costs a router. */
export function allowedMethods<E extends Env>(app: Hono<E>, path: string): readonly string[] {
  const router = new TrieRouter<string>();
  // Middleware is registered for all methods; routes are not.
  const routes = app.routes.filter(({ method }) => method !== "ALL");
  for (const { method, path } of routes) router.add("ALL", path, method);
  const matched = router.match("GET", path)[0].map(([method]) => method);
  return [...new Set(matched.flatMap((method) => method === "GET" ? ["GET", "HEAD"] : [method]))];
}
