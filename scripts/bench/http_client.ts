/**
 * A load client for benchmarks: HTTP/1.1 over kept connections, one request at a time on each, the
 * request's bytes made once where all are the same. It costs a fraction of `fetch`, so that on a small
 * machine the server is what is measured.
 */

/** One kept connection that sends requests to one route. */
export interface HttpConnection {
  /**
   * Sends the request once more; true when it was answered with 200 to 209.
   * @param body in place of the one that is sent otherwise.
   * @param path in place of the URL's, with its query.
   */
  request(body?: string, path?: string): Promise<boolean>;
  close(): void;
}

/** @param url of the route; the body, where there is one, is JSON. */
export async function openConnection(url: string, body?: string): Promise<HttpConnection> {
  const target = new URL(url);
  const bytes = requestBytes(target, body);
  let resolve: ((ok: boolean) => void) | undefined;
  let pending = "";
  const answered = (ok: boolean) => {
    pending = "";
    const waiting = resolve;
    resolve = undefined;
    waiting?.(ok);
  };
  const { hostname, port } = target;
  const socket = await Bun.connect({
    hostname,
    port: Number(port),
    socket: {
      data: (_, chunk) => {
        pending += chunk.toString("latin1");
        const headEnd = pending.indexOf("\r\n\r\n");
        if (headEnd < 0) return;
        const length = /content-length: *(\d+)/i.exec(pending)?.[1];
        if (pending.length < headEnd + 4 + Number(length ?? 0)) return;
        answered(pending.startsWith("HTTP/1.1 20"));
      },
      end: (socket) => void socket.end(),
      close: () => answered(false),
      error: () => answered(false),
    },
  });
  return {
    request: (own, path) =>
      new Promise((done) => {
        resolve = done;
        const isOther = own !== undefined || path !== undefined;
        socket.write(isOther ? requestBytes(target, own ?? body, path) : bytes);
      }),
    close: () => socket.end(),
  };
}

function requestBytes(
  { pathname, search, host }: URL,
  body: string | undefined,
  path = `${pathname}${search}`,
): Uint8Array {
  const head = `${body === undefined ? "GET" : "POST"} ${path} HTTP/1.1\r\n` +
    `host: ${host}\r\n`;
  const rest = body === undefined ? "\r\n" : "content-type: application/json\r\n" +
    `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  return new TextEncoder().encode(head + rest);
}
