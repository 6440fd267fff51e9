/** Devices of tests: TCP connections to a node's gateway, and what fronts say of them. */
import { connect, type Socket } from "node:net";
import { type App, until } from "./app.ts";

/** Where a node's devices connect, as its log says. */
export function devicePort({ log }: App): number {
  const port = /tcp:\/\/[^\s"]*:(\d+)/.exec(log)?.[1];
  if (port === undefined) throw new Error(`No port for devices in the log:\n${log}`);
  return Number(port);
}

/** A device that keeps its connection until it is told otherwise. */
export class TestDevice implements Disposable {
  readonly #socket: Socket;
  /** Lines that it was sent, and what the gateway said at the end. */
  readonly lines: string[] = [];
  #rest = "";
  isClosed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => {
      const lines = (this.#rest + text).split("\n");
      this.#rest = lines.pop() ?? "";
      this.lines.push(...lines);
    });
    socket.on("error", () => {
      this.isClosed = true;
    });
    socket.on("close", () => {
      this.isClosed = true;
    });
  }

  /** @param greeting its first line, where it has to say who it is. */
  static async connect(app: App, greeting?: string): Promise<TestDevice> {
    const socket = connect(devicePort(app), "127.0.0.1");
    await new Promise<void>((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("error", reject);
    });
    const device = new TestDevice(socket);
    if (greeting !== undefined) device.send(greeting);
    return device;
  }

  /** What it is called where nobody asks it who it is. */
  get address(): string {
    return `${this.#socket.localAddress}:${this.#socket.localPort}`;
  }

  send(line: string): void {
    this.#socket.write(`${line}\n`);
  }

  end(): void {
    this.#socket.end();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

/** A device as `GET /devices` shows it. */
export interface ShownDevice {
  readonly id: string;
  readonly state?: "online" | "offline";
  readonly node: string;
  readonly address: string;
  readonly connectedAt: string;
  readonly lastSeenAt: string;
  readonly reason?: string;
  readonly history?: readonly { readonly state: string; readonly reason?: string }[];
}

/** Undefined: no front knows it. */
export async function shownDevice(front: App, id: string): Promise<ShownDevice | undefined> {
  const response = await fetch(`${front.url}/devices/${id}`);
  return response.ok ? await response.json() : undefined;
}

export async function listedDevices(front: App, query = ""): Promise<readonly ShownDevice[]> {
  const response = await fetch(`${front.url}/devices${query}`);
  return response.ok ? await response.json() : [];
}

/** Waits until all of these are so in the records of a front, whatever it knows of connections. */
export async function recorded(
  front: App,
  ids: readonly string[],
  state: "online" | "offline",
): Promise<void> {
  await until(async () => {
    const listed = await listedDevices(front, "?state=all&limit=1000");
    const known = new Set(listed.flatMap((device) => device.state === state ? device.id : []));
    return ids.every((id) => known.has(id));
  }, `devices to be recorded ${state}`);
}
