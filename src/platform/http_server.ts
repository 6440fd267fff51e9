/**
 * An HTTP server of the runtime behind a small interface: listens, hands each request to a handler,
 * stops in two phases. What is answered is not its business.
 *
 * A connection that is silent for too long is closed, whether it sends its request too slowly, reads
 * its answer too slowly, or asks for nothing. Who answers late on purpose says so (`holdOpen`).
 */
import { setTimeout as sleep } from "node:timers/promises";
import { getLogger } from "@logtape/logtape";
import type { Component } from "../lifecycle/component.ts";
import type { KeyPair } from "./certificate.ts";

const log = getLogger(["coxswain", "http"]);

/** Over the 60 s for which common proxies keep an unused connection, so that they close it first. */
const IDLE_TIMEOUT_MS = 75_000;

/** Sockets tell here and get nothing: a client has nothing large to say. */
const MAX_SOCKET_MESSAGE_BYTES = 64 * 1024;
/** What a socket that is not read may hold; past it, it is closed. */
const MAX_SOCKET_UNREAD_BYTES = 16 * 2 ** 20;
/** Bun sends a ping in time, so only a dead connection is silent for so long. At most 960. */
const SOCKET_IDLE_TIMEOUT_S = 120;

/** How often a server that stops looks whether all is answered: the runtime does not tell it. */
const ANSWERED_POLL_MS = 10;

/** The other end of a WebSocket. */
export interface SocketPeer {
  /** Sends texts, each as a message, in as few writes as can be; one that is gone gets nothing. */
  send(texts: readonly string[]): void;
  /** Bytes that were sent and are not on their way yet, because the other end reads too slowly. */
  readonly unreadBytes: number;
  /** @param code RFC 6455, section 7.4. */
  close(code: number, reason: string): void;
}

/** What happens on a WebSocket. */
export interface SocketHandler {
  open(peer: SocketPeer): void;
  /** `unreadBytes` is zero again. */
  drain(peer: SocketPeer): void;
  message(peer: SocketPeer, data: string | Uint8Array): void;
  /** Called once, whoever closed it. */
  close(peer: SocketPeer): void;
}

/** What a handler may ask for the connection that its request came on. */
export interface ConnectionHold {
  /** The answer takes its time: silence does not close the connection from now on. */
  holdOpen(request: Request): void;
  /**
   * Makes the request's connection a WebSocket.
   * @param protocol the subprotocol to answer with.
   * @returns the response to return, or undefined where it cannot be done.
   */
  upgrade(request: Request, handler: SocketHandler, protocol?: string): Response | undefined;
  /** The answer is there: silence closes the connection again. Harmless when the client is gone. */
  release(request: Request): void;
}

/**
 * Answers a request. The request's `signal` aborts when its client goes away (or shuts down its
 * sending half, which the runtime takes for the same).
 */
export type HttpHandler = (
  request: Request,
  connection: ConnectionHold,
) => Response | Promise<Response>;

export interface HttpServerOptions {
  /** Name or address to listen on, without brackets. */
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly handler: HttpHandler;
  /** Absent: plain HTTP. */
  readonly tls?: KeyPair;
  /** Default 75 s; whole seconds, at most 255. */
  readonly idleTimeoutMs?: number;
}

/** The server cannot listen where it was told to. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** States: created → listening → stopping → stopped. It does not start a second time. */
export class HttpServer implements Component {
  readonly #options: HttpServerOptions;
  #server: Bun.Server<SocketData> | undefined;
  readonly #sockets = new Set<Bun.ServerWebSocket<SocketData>>();
  #stopped: Promise<void> | undefined;

  constructor(options: HttpServerOptions) {
    this.#options = options;
  }

  /** The port that it listens on; the one that was asked for until it has started. */
  get port(): number {
    return this.#server?.port ?? this.#options.port;
  }

  /** Where it is reached, without a slash at the end, e.g. `http://127.0.0.1:8888`. */
  get url(): string {
    const { host, tls } = this.#options;
    return `${tls === undefined ? "http" : "https"}://${
      host.includes(":") ? `[${host}]` : host
    }:${this.port}`;
  }

  /** Requests that are being answered now. */
  get pending(): number {
    return this.#server?.pendingRequests ?? 0;
  }

  /** @throws ListenError when the port is taken or the address is not this machine's. */
  start(): Promise<void> {
    const { host, port, handler, tls, idleTimeoutMs = IDLE_TIMEOUT_MS } = this.#options;
    const idleTimeout = Math.ceil(idleTimeoutMs / 1_000);
    try {
      const server = Bun.serve<SocketData>({
        hostname: host,
        port,
        idleTimeout,
        ...(tls === undefined ? {} : { tls: { cert: tls.cert, key: tls.key } }),
        // Bodies are bounded by who reads them, who can say so in an answer that arrives.
        maxRequestBodySize: Number.MAX_SAFE_INTEGER,
        // Without development Bun shares the port with whoever asks for it too, unless told not to.
        development: false,
        reusePort: false,
        fetch: (request) => handler(request, hold),
        websocket: {
          maxPayloadLength: MAX_SOCKET_MESSAGE_BYTES,
          backpressureLimit: MAX_SOCKET_UNREAD_BYTES,
          closeOnBackpressureLimit: true,
          idleTimeout: SOCKET_IDLE_TIMEOUT_S,
          open: (socket) => {
            this.#sockets.add(socket);
            socket.data.peer = peerOf(socket);
            socket.data.handler.open(socket.data.peer);
          },
          drain: ({ data: { handler, peer } }) => peer && handler.drain(peer),
          message: ({ data: { handler, peer } }, message) => {
            if (peer) handler.message(peer, message);
          },
          close: (socket) => {
            this.#sockets.delete(socket);
            const { handler, peer } = socket.data;
            if (peer) handler.close(peer);
          },
        },
        error: (error) => {
          log.error("A request's handler failed: {error}", { error });
          return new Response(null, { status: 500 });
        },
      });
      const hold: ConnectionHold = {
        holdOpen: (request) => server.timeout(request, 0),
        release: (request) => server.timeout(request, idleTimeout),
        upgrade: (request, socketHandler, protocol) => {
          const isDone = server.upgrade(request, {
            data: { handler: socketHandler, peer: undefined },
            ...(protocol === undefined ? {} : { headers: { "sec-websocket-protocol": protocol } }),
          });
          // The runtime has answered by itself and passes over what is returned.
          return isDone ? new Response(null) : undefined;
        },
      };
      this.#server = server;
      return Promise.resolve();
    } catch (error) {
      return Promise.reject(listenError(host, port, error));
    }
  }

  /**
   * Accepts no connection any more and closes those between two requests; resolves when all requests have been
   * answered, or have been cut off because the signal aborted.
   */
  async stop(abort?: AbortSignal): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#stopped ??= server.stop();
    // The runtime would wait for a connection that never had a request (browsers open some in
    // advance) until its silence closes it: so nothing is waited for but answers.
    while (server.pendingRequests > 0 && !abort?.aborted) await sleep(ANSWERED_POLL_MS);
    await server.stop(true);
    await this.#stopped;
  }
}

interface SocketData {
  readonly handler: SocketHandler;
  /** Set when it opens. */
  peer: SocketPeer | undefined;
}

function peerOf(socket: Bun.ServerWebSocket<SocketData>): SocketPeer {
  return {
    // A write for each costs ten times as much.
    send: (texts) =>
      void socket.cork(() => {
        for (const text of texts) socket.send(text);
      }),
    get unreadBytes() {
      return socket.getBufferedAmount();
    },
    close: (code, reason) => socket.close(code, reason),
  };
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "the port is taken by another program",
  EADDRNOTAVAIL: "this machine has no such address",
  EACCES: "this user may not use that port",
};

function listenError(host: string, port: number, error: unknown): ListenError {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const reason = REASONS[code] ?? (error instanceof Error ? error.message : String(error));
  return new ListenError(`Cannot listen on ${host} port ${port}: ${reason}`, { cause: error });
}
