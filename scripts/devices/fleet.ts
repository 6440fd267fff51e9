/** Many devices in one process: TCP connections that send and receive lines, for simulators and benchmarks. */

export interface FleetOptions {
  readonly host?: string;
  readonly port: number;
  readonly count: number;
  /** The first line of a device: `id token`, where the gateway asks for it. Default: none. */
  readonly greeting?: (device: number) => string;
  /** A line that a device received; what is returned it sends as its answer. */
  readonly heard?: (device: number, line: string) => string | undefined;
  /** A connection that ended, and not by `close`. */
  readonly lost?: (device: number) => void;
}

interface Device {
  readonly index: number;
  readonly fleet: Fleet;
  /** What came of a line that has not ended. */
  rest: string;
  /** What the connection did not take yet. */
  unwritten: string;
}

type Socket = Bun.Socket<Device>;

/** Connections that are made at once: a listener's backlog is no longer than this. */
const AT_ONCE = 200;

const HANDLERS: Bun.SocketHandler<Device> = {
  data(socket, chunk) {
    socket.data.fleet.received(socket, chunk.toString("utf8"));
  },
  drain(socket) {
    const { data } = socket;
    const text = data.unwritten;
    data.unwritten = "";
    write(socket, text);
  },
  close(socket) {
    socket.data.fleet.closed(socket);
  },
  error(socket) {
    socket.data.fleet.closed(socket);
  },
};

function write(socket: Socket, text: string): void {
  const { data } = socket;
  if (data.unwritten !== "") {
    data.unwritten += text;
    return;
  }
  const taken = socket.write(text);
  // Lines are ASCII: a character is a byte.
  if (taken < text.length) data.unwritten = text.slice(Math.max(0, taken));
}

export class Fleet {
  readonly #options: FleetOptions;
  readonly #sockets: (Socket | undefined)[] = [];
  #isClosed = false;

  private constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** Resolves when all of them are connected, and have said who they are. */
  static async connect(options: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(options);
    const { count } = options;
    for (let start = 0; start < count; start += AT_ONCE) {
      const wave = Array.from(
        { length: Math.min(AT_ONCE, count - start) },
        (_, n) => fleet.#connect(start + n),
      );
      await Promise.all(wave);
    }
    return fleet;
  }

  /** Those that are connected. */
  get size(): number {
    return this.#sockets.filter((socket) => socket !== undefined).length;
  }

  /** What a gateway calls a device that says nothing of itself: the address that it connects from. */
  address(device: number): string {
    const socket = this.#sockets[device];
    return socket === undefined ? "" : `${socket.localAddress}:${socket.localPort}`;
  }

  /** Nothing happens where it is not connected. */
  send(device: number, line: string): void {
    const socket = this.#sockets[device];
    if (socket !== undefined) write(socket, `${line}\n`);
  }

  disconnect(device: number): void {
    const socket = this.#sockets[device];
    this.#sockets[device] = undefined;
    socket?.end();
  }

  /** Connects a device anew that is not connected. */
  async reconnect(device: number): Promise<void> {
    if (this.#sockets[device] === undefined) await this.#connect(device);
  }

  close(): void {
    this.#isClosed = true;
    for (const device of this.#sockets.keys()) this.disconnect(device);
  }

  /** Called by the sockets' handlers. */
  received({ data }: Socket, text: string): void {
    const lines = (data.rest + text).split("\n");
    data.rest = lines.pop() ?? "";
    for (const line of lines) {
      const answer = this.#options.heard?.(data.index, line);
      if (answer !== undefined) this.send(data.index, answer);
    }
  }

  /** Called by the sockets' handlers. */
  closed(socket: Socket): void {
    const { index } = socket.data;
    if (this.#sockets[index] !== socket) return;
    this.#sockets[index] = undefined;
    if (!this.#isClosed) this.#options.lost?.(index);
  }

  async #connect(index: number): Promise<void> {
    const { host = "127.0.0.1", port, greeting } = this.#options;
    const data: Device = { index, fleet: this, rest: "", unwritten: "" };
    const socket = await Bun.connect({ hostname: host, port, socket: HANDLERS, data });
    this.#sockets[index] = socket;
    if (greeting !== undefined) write(socket, `${greeting(index)}\n`);
  }
}
