/** A TCP proxy on loopback that misbehaves when it is told to: cuts, swallows, refuses. */
import { connect, createServer, type Server, type Socket } from "node:net";

export type Direction = "toTarget" | "toClient";

export class TcpProxy implements AsyncDisposable {
  readonly port: number;
  readonly #targetPort: number;
  readonly #sockets = new Set<Socket>();
  readonly #swallowing = new Set<Direction>();
  readonly #clients = new Set<Socket>();
  #server: Server;
  /** Connections accepted so far. */
  accepted = 0;

  /** Listens at once, on a free port. */
  constructor(targetPort: number) {
    this.#targetPort = targetPort;
    this.#server = this.#listen(0);
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("The proxy has no port");
    this.port = address.port;
  }

  /** Connections that are open now. */
  get open(): number {
    return this.#sockets.size / 2;
  }

  /** Ends every connection without a farewell; resolves when they are gone on this side. */
  async cut(): Promise<void> {
    const gone = [...this.#sockets].map((socket) =>
      new Promise((resolve) => socket.once("close", resolve))
    );
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await Promise.all(gone);
  }

  /** As `cut`, for one of the open connections: 0 is the oldest. */
  async cutOne(place: number): Promise<void> {
    const socket = [...this.#sockets][2 * place];
    if (socket === undefined) throw new Error(`There is no connection ${place}`);
    const gone = new Promise((resolve) => socket.once("close", resolve));
    socket.resetAndDestroy();
    await gone;
  }

  /** From now on what comes in this direction vanishes, as on a line that is dead. */
  swallow(...directions: readonly Direction[]): void {
    for (const direction of directions) this.#swallowing.add(direction);
  }

  /** Takes nothing more from clients, so that what they send piles up on their side. */
  hold(): void {
    for (const socket of this.#clients) socket.pause();
  }

  /** Sends bytes to every client as if the target had. */
  inject(bytes: Uint8Array): void {
    for (const socket of this.#clients) socket.write(bytes);
  }

  /** Carries everything again; connections that lost something are of no use any more. */
  carry(): void {
    this.#swallowing.clear();
  }

  /** New connections are refused, as where nobody listens. */
  async refuse(): Promise<void> {
    await new Promise((resolve) => {
      this.#server.close(resolve);
      void this.cut();
    });
  }

  /** Listens again, on the same port. */
  accept(): void {
    this.#server = this.#listen(this.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server.listening) await this.refuse();
  }

  #listen(port: number): Server {
    return createServer((client) => this.#join(client)).listen(port, "127.0.0.1");
  }

  #join(client: Socket): void {
    this.accepted++;
    this.#clients.add(client);
    client.once("close", () => this.#clients.delete(client));
    const target = connect(this.#targetPort, "127.0.0.1");
    this.#pipe(client, target, "toTarget");
    this.#pipe(target, client, "toClient");
  }

  #pipe(from: Socket, to: Socket, direction: Direction): void {
    this.#sockets.add(from);
    from.on("data", (chunk) => {
      if (!this.#swallowing.has(direction)) to.write(chunk);
    });
    from.on("end", () => to.end());
    // What one side met ends the other.
    from.on("error", () => to.destroy());
    from.on("close", () => {
      this.#sockets.delete(from);
      to.destroy();
    });
  }
}
