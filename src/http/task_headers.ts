/**
 * Which header fields travel between a client and a task, in words that the documentation repeats.
 *
 * To the task (`context.request.headers`): fields whose names begin with `x-`, and the trace context
 * (`traceparent`, `tracestate`, `baggage`). Never `authorization`, `cookie` and all the rest, which
 * concern the front alone and would stay readable in queues and dead letters.
 *
 * Back to the client (`context.headers`): all but what would change how the response is framed or
 * read (RFC 9110 section 7.6.1, `content-*`), and what would change what a browser believes of the
 * front's origin (cookies, cross-origin rules). Results are always `application/json`.
 */

const FORWARDED = new Set(["traceparent", "tracestate", "baggage"]);

const NONE: Readonly<Record<string, string>> = Object.freeze({});

/** Header fields of a request that its task gets, with lower-case names. */
export function forwardedHeaders(headers: Headers): Readonly<Record<string, string>> {
  let forwarded: Record<string, string> | undefined;
  headers.forEach((value, name) => {
    if (name.startsWith("x-") || FORWARDED.has(name)) (forwarded ??= {})[name] = value;
  });
  return forwarded ?? NONE;
}

const WITHHELD = new Set([
  "alt-svc",
  "clear-site-data",
  "connection",
  "date",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "refresh",
  "server",
  "service-worker-allowed",
  "set-cookie",
  "set-cookie2",
  "strict-transport-security",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "www-authenticate",
]);

const WITHHELD_PREFIX = /^(?:content-|access-control-|cross-origin-|sec-)/;
/** RFC 9110, section 5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
/** Visible characters, spaces and tabs of one byte (RFC 9110, section 5.5). */
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Common clients and proxies give up on a response whose header section is larger than 8 to 32 KiB. */
const MAX_HEADERS_BYTES = 8 * 1024;

/** Whether a task may send this header field to a client. */
export function isResultHeader(name: string, value: string): boolean {
  return TOKEN.test(name) && FIELD_VALUE.test(value) && !WITHHELD.has(name) &&
    !WITHHELD_PREFIX.test(name);
}

/**
 * What a task set on `context.headers`, without what it may not send and what no header field can
 * carry. Fields past 8 KiB together are left out.
 */
export function resultHeaders(
  headers: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  let kept: Record<string, string> | undefined;
  let bytes = 0;
  for (const given in headers) {
    const name = given.toLowerCase();
    const value = headers[given] ?? "";
    if (!isResultHeader(name, value)) continue;
    bytes += name.length + value.length;
    if (bytes > MAX_HEADERS_BYTES) break;
    (kept ??= {})[name] = value;
  }
  return kept ?? NONE;
}
