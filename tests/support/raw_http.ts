/** An HTTP/1.1 client that sends what a test writes, byte by byte: for what `fetch` would never send. */
import { connect, type Socket } from "node:net";

export interface RawResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** One connection. Responses are read in their order; each must have a length. */
export class RawHttp {
  readonly #socket: Socket;
  #received = Buffer.alloc(0);
  #isClosed = false;
  #changed = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => {
      this.#received = Buffer.concat([this.#received, Buffer.from(chunk)]);
      this.#wake();
    });
    // A connection that is cut is what some tests are about; `close` follows.
    socket.on("error", () => this.#wake());
    socket.on("close", () => {
      this.#isClosed = true;
      this.#closed.resolve();
      this.#wake();
    });
  }

  static async open(port: number, host = "127.0.0.1"): Promise<RawHttp> {
    const socket = connect(port, host);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.once("connect", resolve);
    socket.once("error", reject);
    await promise;
    return new RawHttp(socket);
  }

  /** Resolves when the connection is closed, by whomever. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves when the socket takes more; at once where it is closed. */
  async send(bytes: string | Uint8Array): Promise<void> {
    if (this.#isClosed || this.#socket.write(bytes)) return;
    const drained = Promise.withResolvers<void>();
    this.#socket.once("drain", drained.resolve);
    await Promise.race([drained.promise, this.closed]);
    this.#socket.off("drain", drained.resolve);
  }

  /** @param fields header lines without their line ends; Host is there already. */
  async request(method: string, path: string, body?: string, fields: string[] = []): Promise<void> {
    const lines = [
      `${method} ${path} HTTP/1.1`,
      "Host: 127.0.0.1",
      ...fields,
      ...(body === undefined ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]),
    ];
    await this.send(`${lines.join("\r\n")}\r\n\r\n${body ?? ""}`);
  }

  /** The next response. @throws when the connection closes before it is whole. */
  async response(): Promise<RawResponse> {
    while (true) {
      const response = this.#take();
      if (response !== undefined) return response;
      if (this.#isClosed) throw new Error(`Closed after: ${this.#received.toString("latin1")}`);
      await this.#changed.promise;
    }
  }

  /** Cuts the connection as a client does that dies. */
  drop(): void {
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.drop();
  }

  #take(): RawResponse | undefined {
    const end = this.#received.indexOf("\r\n\r\n");
    if (end === -1) return undefined;
    const [start = "", ...fields] = this.#received.subarray(0, end).toString("latin1").split(
      "\r\n",
    );
    const headers = new Headers(fields.map((field): [string, string] => {
      const colon = field.indexOf(":");
      return [field.slice(0, colon), field.slice(colon + 1).trim()];
    }));
    const bodyEnd = end + 4 + Number(headers.get("content-length") ?? 0);
    if (this.#received.length < bodyEnd) return undefined;
    const body = this.#received.subarray(end + 4, bodyEnd).toString();
    this.#received = this.#received.subarray(bodyEnd);
    return { status: Number(start.split(" ")[1]), headers, body };
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    resolve();
  }
}
