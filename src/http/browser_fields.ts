/** Header fields of every answer that tell browsers what they must not do with it. */
import type { MiddlewareHandler } from "hono";
import type { AppEnv } from "./exchange.ts";

/**
 * An answer is what its content type says (what a task returned is never guessed to be a page or a
 * script), no page of another origin embeds it, and no page is shown in a frame of another.
 */
export const browserFields: MiddlewareHandler<AppEnv> = async (c, next) => {
  await next();
  const { headers } = c.res;
  headers.set("x-content-type-options", "nosniff");
  headers.set("cross-origin-resource-policy", "same-origin");
  if (headers.get("content-type")?.startsWith("text/html") !== true) return;
  headers.set("x-frame-options", "DENY");
  headers.set("referrer-policy", "no-referrer");
};
