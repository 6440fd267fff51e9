/** A device for tests: a TCP or TLS client that sends lines and keeps those that it gets. */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { until } from "./waiting.ts";

export interface DeviceOptions {
  /** PEM text: speak TLS, and trust this authority. */
  readonly ca?: string;
  /** Sent at once, as it is. */
  readonly first?: string;
}

export class Device implements Disposable {
  readonly socket: Socket;
  /** All that came, as text. */
  text = "";
  isClosed = false;

  constructor(port: number, { ca, first }: DeviceOptions = {}) {
    this.socket = ca === undefined
      ? connect(port, "127.0.0.1")
      : connectTls({ port, host: "127.0.0.1", ca });
    this.socket.setEncoding("utf8");
    this.socket.on("data", (chunk: string) => this.text += chunk);
    // How it ends is told by "close".
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => this.isClosed = true);
    if (first !== undefined) this.socket.write(first);
  }

  /** One that has connected, and is called by its address where nobody asks for another. */
  static async connected(port: number, options?: DeviceOptions): Promise<Device> {
    const device = new Device(port, options);
    await until("the device is connected", () => device.socket.localPort !== undefined);
    return device;
  }

  /** What it is called where nobody asks who it is. */
  get address(): string {
    return `127.0.0.1:${this.socket.localPort}`;
  }

  /** Whole lines that came. */
  get lines(): readonly string[] {
    return this.text.split("\n").slice(0, -1);
  }

  send(text: string | Uint8Array): void {
    this.socket.write(text);
  }

  /** Answers each line that comes. */
  answers(answer: (line: string) => string): this {
    let seen = this.lines.length;
    this.socket.on("data", () => {
      for (const line of this.lines.slice(seen)) this.send(`${answer(line)}\n`);
      seen = this.lines.length;
    });
    return this;
  }

  closed(): Promise<void> {
    return until("the device's connection is closed", () => this.isClosed);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
