/**
 * A TCP server, with TLS by option, on the runtime's own sockets: ten thousand of them cost 1.5 KB each
 * (seen; node:net's cost 7 KB). It counts and bounds nothing; that is its user's work.
 */
import type { Component } from "../lifecycle/component.ts";

/** One connection, as whoever reads it writes to it. After its end all of these do nothing. */
export interface TcpConnection {
  /** `host:port`; an IPv6 address in brackets. */
  readonly address: string;
  readonly host: string;
  /** @returns how many of the bytes were taken; what was not has to be written again when it drained. */
  write(bytes: Uint8Array): number;
  /** Writes what it can of some last bytes, says that there will be no more, and closes it soon. */
  end(last?: Uint8Array): void;
  /** Closes it at once. */
  terminate(): void;
  /** Reads no more until `resume`. */
  pause(): void;
  resume(): void;
}

/** What becomes of one connection. Each is called in its turn, the last of them `closed`, once. */
export interface TcpReader {
  /** The bytes are valid during the call. */
  received(bytes: Uint8Array): void;
  /** It takes bytes again. */
  drained(): void;
  /** @param isBroken it did not end well: reset, timed out. */
  closed(isBroken: boolean): void;
}

export interface TcpServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** A connection is there; with TLS, when both ends agreed. */
  readonly opened: (connection: TcpConnection) => TcpReader;
  /** With TLS: somebody has connected, and may never agree. Returns whether it may try. */
  readonly knocked?: (host: string) => boolean;
  /** With TLS: whoever knocked has opened, or is gone. */
  readonly knockEnded?: (host: string) => void;
}

export class TcpListenError extends Error {
  override readonly name = "TcpListenError";
}

/** After its end is said, a connection that the other side keeps open is cut. */
const END_LIMIT_S = 5;
/** How long a TLS handshake may take. */
const HANDSHAKE_LIMIT_S = 10;
/** The first probe of a connection that is silent; the system's settings say how many follow. */
const KEEP_ALIVE_MS = 60_000;

/** Of one socket; `reader` from the moment it was opened. */
interface Seat {
  reader: TcpReader | undefined;
  host: string;
  isEnded: boolean;
}

type Socket = Bun.Socket<Seat>;

export class TcpServer implements Component {
  readonly #options: TcpServerOptions;
  #server: Bun.TCPSocketListener<Seat> | undefined;

  constructor(options: TcpServerOptions) {
    this.#options = options;
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#server?.port ?? this.#options.port;
  }

  /** @throws TcpListenError when it cannot listen. */
  start(): Promise<void> {
    const { host, port, tls } = this.#options;
    try {
      this.#server = Bun.listen<Seat>({
        hostname: host,
        port,
        ...(tls === undefined ? {} : { tls: { cert: tls.cert, key: tls.key } }),
        data: { reader: undefined, host: "", isEnded: false },
        socket: tls === undefined ? this.#plain() : this.#secured(),
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return Promise.reject(
        new TcpListenError(`Cannot listen for devices on ${host}:${port}: ${reason}`, {
          cause: error,
        }),
      );
    }
    return Promise.resolve();
  }

  /** Accepts nobody more; connections stay. */
  close(): void {
    this.#server?.stop(false);
  }

  /** Closes it, and all connections. Idempotent. */
  stop(): Promise<void> {
    this.#server?.stop(true);
    this.#server = undefined;
    return Promise.resolve();
  }

  #plain(): Bun.SocketHandler<Seat> {
    return {
      ...HANDLERS,
      open: (socket) => {
        socket.data = { reader: undefined, host: socket.remoteAddress, isEnded: false };
        this.#open(socket);
      },
    };
  }

  #secured(): Bun.SocketHandler<Seat> {
    const { knocked, knockEnded } = this.#options;
    return {
      ...HANDLERS,
      open: (socket) => {
        const host = socket.remoteAddress;
        socket.data = { reader: undefined, host, isEnded: false };
        socket.timeout(HANDSHAKE_LIMIT_S);
        if (knocked?.(host) === false) {
          socket.data.isEnded = true;
          socket.terminate();
        }
      },
      handshake: (socket, isAgreed) => {
        if (socket.data.isEnded || socket.data.reader !== undefined) return;
        if (!isAgreed) return void socket.terminate();
        socket.timeout(0);
        knockEnded?.(socket.data.host);
        this.#open(socket);
      },
      close: (socket, error) => {
        const { reader, host, isEnded } = socket.data;
        if (reader !== undefined) reader.closed(error !== undefined);
        else if (!isEnded) knockEnded?.(host);
        socket.data.reader = undefined;
      },
    };
  }

  #open(socket: Socket): void {
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.setNoDelay(true);
    socket.data.reader = this.#options.opened(new BunConnection(socket));
  }
}

/** The same for all sockets, so that each costs nothing of them. */
const HANDLERS = {
  binaryType: "uint8array",
  data: ({ data: { reader } }: Socket, bytes: Uint8Array) => reader?.received(bytes),
  drain: ({ data: { reader } }: Socket) => reader?.drained(),
  close: ({ data }: Socket, error?: Error) => {
    const { reader } = data;
    data.reader = undefined;
    reader?.closed(error !== undefined);
  },
  // The other side has said that it sends no more: so it is over.
  end: (socket: Socket) => void socket.end(),
  timeout: (socket: Socket) => void socket.terminate(),
  error: (socket: Socket) => void socket.terminate(),
} as const;

class BunConnection implements TcpConnection {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  get host(): string {
    return this.#socket.data.host;
  }

  get address(): string {
    const { host } = this;
    return `${host.includes(":") ? `[${host}]` : host}:${this.#socket.remotePort}`;
  }

  write(bytes: Uint8Array): number {
    return this.#socket.data.isEnded ? 0 : Math.max(0, this.#socket.write(bytes));
  }

  end(last?: Uint8Array): void {
    const { data } = this.#socket;
    if (data.isEnded) return;
    data.isEnded = true;
    if (last === undefined) this.#socket.end();
    else this.#socket.end(last);
    this.#socket.timeout(END_LIMIT_S);
  }

  terminate(): void {
    this.#socket.data.isEnded = true;
    this.#socket.terminate();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }
}
