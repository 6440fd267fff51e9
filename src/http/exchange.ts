/** What the routes share in answering one request. */
import type { Context, Hono } from "hono";
import type { ConnectionHold } from "../platform/http_server.ts";
import { bad, type Read } from "./body.ts";
import type { Problem } from "./problems.ts";

/** The server gives its connection along; tests without a socket give none. */
export interface AppEnv {
  Bindings: Partial<ConnectionHold>;
}

/** Makes the response that tells a problem. */
export type Fail = (problem: Problem) => Response;

/** Waits for what takes its time, while the client's connection may be silent. */
export async function patiently<T>(c: Context<AppEnv>, slow: Promise<T>): Promise<T> {
  const connection: AppEnv["Bindings"] | undefined = c.env;
  connection?.holdOpen?.(c.req.raw);
  try {
    return await slow;
  } finally {
    connection?.release?.(c.req.raw);
  }
}

/**
 * The path of a request as it was sent, percent-encoded: Hono's own decodes it before it looks for
 * the route, which makes two of what a name with `%2F` in it should be.
 */
export function rawPath({ url }: Request): string {
  // Without a Host field (HTTP/1.0) the URL is the path.
  const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
  const query = url.indexOf("?", start);
  const path = query === -1 ? url.slice(start) : url.slice(start, query);
  // A CONNECT's target has none: with a slash it goes through the same looks as all others.
  return path.startsWith("/") ? path : `/${path}`;
}

/** A segment of the path as text, e.g. a task's name. */
export function segment(raw: string): Read<string> {
  try {
    return { value: raw.includes("%") ? decodeURIComponent(raw) : raw };
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return { problem: bad("The path is not percent-encoded UTF-8") };
  }
}

/**
 * Adds the handler of a `POST` route for a path in which the name is missing too, so that the answer
 * says what is wrong instead of that there is no such route. It is not listed as a route of its own.
 */
export function addNameless(
  app: Hono<AppEnv>,
  path: string,
  handler: (c: Context<AppEnv>) => Promise<Response>,
): void {
  app.use(path, (c, next) => c.req.method === "POST" ? handler(c) : next());
}
