/** Devices that connect again whenever they are cut off, answer each line, and send one now and then. */
import { connect, type Socket } from "node:net";

const RECONNECT_MS = 200;
const LINE_EVERY_MS = 1_000;

class Device {
  /** As the front sees it; undefined while it is not connected. */
  id: string | undefined;
  /** Lines that it was sent, in all its connections. */
  readonly heard: string[] = [];
  readonly #host: string;
  readonly #port: number;
  #socket: Socket;
  #isOver = false;
  #rest = "";
  readonly #talking: ReturnType<typeof setInterval>;

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
    this.#socket = this.#connect();
    this.#talking = setInterval(() => {
      if (this.id !== undefined) this.#socket.write("alive\n");
    }, LINE_EVERY_MS);
  }

  /** Cuts the connection without a word; another one follows. */
  drop(): void {
    this.#socket.resetAndDestroy();
  }

  end(): void {
    this.#isOver = true;
    clearInterval(this.#talking);
    this.#socket.destroy();
  }

  #connect(): Socket {
    const socket = connect(this.#port, this.#host);
    socket.on("connect", () => this.id = `${socket.localAddress}:${socket.localPort}`);
    socket.on("data", (chunk) => this.#read(String(chunk), socket));
    // Told by the close that follows.
    socket.on("error", () => this.id = undefined);
    socket.on("close", () => {
      this.id = undefined;
      this.#rest = "";
      if (this.#isOver) return;
      setTimeout(() => {
        if (!this.#isOver) this.#socket = this.#connect();
      }, RECONNECT_MS);
    });
    return socket;
  }

  #read(text: string, socket: Socket): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      this.heard.push(line);
      socket.write(`heard ${line}\n`);
    }
  }
}

export class DeviceCrowd implements Disposable {
  readonly #devices: readonly Device[];

  constructor(host: string, port: number, count: number) {
    this.#devices = Array.from({ length: count }, () => new Device(host, port));
  }

  /** Ids of those that are connected, as far as they know. */
  get ids(): readonly string[] {
    return this.#devices.flatMap(({ id }) => id ?? []);
  }

  /** All lines that any of them was sent. */
  get heard(): readonly string[] {
    return this.#devices.flatMap(({ heard }) => heard);
  }

  /** Cuts the connection of one of them, in turn. */
  drop(place: number): void {
    this.#devices[place % this.#devices.length]?.drop();
  }

  [Symbol.dispose](): void {
    for (const device of this.#devices) device.end();
  }
}
