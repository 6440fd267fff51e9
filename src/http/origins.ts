/**
 * Keeps web pages of other origins out. A browser lets any page send simple requests to
 * `http://127.0.0.1:8888`, and a page whose name is made to mean 127.0.0.1 (DNS rebinding) even
 * reads the answers. Programs that are no browsers send neither `Origin` nor `Sec-Fetch-Site` and
 * are not concerned.
 *
 * Hono's csrf middleware is not enough: it lets through every content type that no form can send,
 * takes a rebound name for the same origin, and refuses `curl -d`, which sends a form's content type
 * without an origin.
 */
import { isLoopback } from "../platform/loopback.ts";
import { type Problem, shortened } from "./problems.ts";

/**
 * Judges a request that changes state (or opens a WebSocket).
 *
 * `Sec-Fetch-Site` is made by the browser and cannot be forged by a page: it decides where there is
 * one. Else `Origin`, which browsers send with each such request, must name the host that the request
 * was sent to. The scheme may differ: TLS may end at a proxy.
 */
export function originProblem(headers: Headers): Problem | undefined {
  const site = headers.get("sec-fetch-site");
  if (site === "same-origin" || site === "none") return undefined;
  const origin = headers.get("origin");
  if (site === null && (origin === null || isSameHost(origin, headers.get("host")))) {
    return undefined;
  }
  return {
    name: "forbidden",
    detail: `A page of another origin (${shortened(origin ?? site ?? "")}) may not do this`,
  };
}

function isSameHost(origin: string, host: string | null): boolean {
  const start = origin.indexOf("://");
  return start !== -1 && host !== null && origin.slice(start + 3) === host.toLowerCase();
}

/** Splits off the port; IPv6 addresses stand in brackets. */
const HOST_FIELD = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::\d*)?$/i;

/**
 * Judges `Host` fields where no token keeps strangers out.
 *
 * A front on loopback is there for this machine alone: whoever names it by anything but a loopback
 * name or address has been led astray. A front on another address without a token was opened to
 * everybody on purpose (`--insecure`), under names that it cannot know.
 * @param boundHost what the front listens on.
 * @returns undefined where every host is right.
 */
export function hostJudge(
  boundHost: string,
): ((host: string | null) => Problem | undefined) | undefined {
  if (!isLoopback(boundHost)) return undefined;
  /** Most clients say the same one each time. */
  let lastRight: string | undefined;
  return (host) => {
    // Only HTTP/1.0 clients leave it out, and browsers are none.
    if (host === null || host === lastRight) return undefined;
    const name = HOST_FIELD.exec(host)?.[1];
    if (name !== undefined && isLoopback(name)) {
      lastRight = host;
      return undefined;
    }
    return {
      name: "forbidden",
      detail: `This front is for its own machine, not for the host "${shortened(host)}": ` +
        "ask for localhost, or give the front a --token",
    };
  };
}
