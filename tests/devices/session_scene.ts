/** A session on a connection that does as a test says, and what its host was told. */
import { Deadlines } from "../../src/async/deadlines.ts";
import type { OfflineReason } from "../../src/devices/device_status.ts";
import { bytesOfLine } from "../../src/devices/framing.ts";
import { Session, type SessionEnding, type SessionHost } from "../../src/devices/session.ts";
import type { TcpConnection } from "../../src/platform/tcp_server.ts";
import { FakeClock } from "../support/fake_clock.ts";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Takes what fits, as a socket whose other side may not read. */
export class FakeConnection implements TcpConnection {
  readonly address = "127.0.0.1:5";
  readonly host = "127.0.0.1";
  /** What it still takes. */
  room = Infinity;
  text = "";
  ending: "open" | "ended" | "terminated" = "open";
  /** Called when it is ended. */
  closes: () => void = () => undefined;

  write(bytes: Uint8Array): number {
    if (this.ending !== "open") return 0;
    const taken = Math.min(bytes.length, this.room);
    this.room -= taken;
    this.text += decoder.decode(bytes.subarray(0, taken));
    return taken;
  }

  end(last?: Uint8Array): void {
    if (last !== undefined) this.text += decoder.decode(last);
    this.ending = "ended";
    this.closes();
  }

  terminate(): void {
    this.ending = "terminated";
  }

  pause(): void {}
  resume(): void {}
}

export class SessionScene implements SessionHost {
  readonly clock = new FakeClock();
  readonly deadlines = new Deadlines(this.clock);
  readonly maxLineBytes = 64;
  readonly writeMs = 5_000;
  readonly connection = new FakeConnection();
  readonly session = new Session(this, this.connection);
  readonly lines: string[] = [];
  readonly reasons: OfflineReason[] = [];
  /** By command: "handled", then how it ended. */
  readonly endings = new Map<string, (SessionEnding["kind"] | "handled")[]>();
  timesLeft = 0;

  constructor(id = "d") {
    this.session.id = id;
  }

  greeted(session: Session, line: Uint8Array): void {
    this.lines.push(`greeting ${decoder.decode(line)}`);
    session.id = "d";
  }

  heard(_session: Session, line: Uint8Array): void {
    this.lines.push(decoder.decode(line));
  }

  ended(_session: Session, reason: OfflineReason): void {
    this.reasons.push(reason);
  }

  left(): void {
    this.timesLeft += 1;
  }

  send(cmd: string, replyMs?: number): void {
    const told: (SessionEnding["kind"] | "handled")[] = [];
    this.endings.set(cmd, told);
    this.session.send({
      key: cmd,
      bytes: bytesOfLine(cmd),
      ...(replyMs === undefined ? {} : { replyMs }),
      handled: () => told.push("handled"),
      ended: ({ kind }) => told.push(kind),
    });
  }

  says(text: string): void {
    this.session.received(encoder.encode(text));
  }

  /** The device reads again. */
  reads(): void {
    this.connection.room = Infinity;
    this.session.drained();
  }

  get written(): readonly string[] {
    return this.connection.text.split("\n").slice(0, -1);
  }
}
