/**
 * One connection of a device: its lines, and its commands, one at a time. It knows no broker and no
 * other session; what happens to it is told to its host.
 *
 * States: greeting (nobody knows who it is) → online → ended; or greeting → ended.
 */
import type { Deadline, Deadlines } from "../async/deadlines.ts";
import type { Clock } from "../lifecycle/clock.ts";
import type { TcpConnection, TcpReader } from "../platform/tcp_server.ts";
import type { OfflineReason } from "./device_status.ts";
import { bytesOfLine, frame } from "./framing.ts";

/** How a command ended at the session that was to have it. */
export type SessionEnding =
  | { readonly kind: "written" }
  | { readonly kind: "replied"; readonly line: Uint8Array }
  | { readonly kind: "no-reply" }
  /** Nothing was written: why. */
  | { readonly kind: "busy"; readonly why: string }
  /** The connection ended while it was under way. */
  | { readonly kind: "lost"; readonly why: string };

export interface SessionCommand {
  /** Names it, for `release`; "" where nobody will. */
  readonly key: string;
  readonly bytes: Uint8Array;
  /** Absent: written is enough. */
  readonly replyMs?: number;
  /** It was handed to the connection as a whole, or never will be. Called once, before `ended`. */
  readonly handled: () => void;
  readonly ended: (ending: SessionEnding) => void;
}

/** What all sessions of a gateway have in common. */
export interface SessionHost {
  readonly clock: Clock;
  readonly deadlines: Deadlines;
  readonly maxLineBytes: number;
  /** How long a command may wait until the device takes it. */
  readonly writeMs: number;
  /** The first line of one that has to say who it is. The line is valid during the call. */
  greeted(session: Session, line: Uint8Array): void;
  /** A line of one that is online, not an empty one. The line is valid during the call. */
  heard(session: Session, line: Uint8Array): void;
  /** It is over; `reason` says why, whoever ended it. Called once. */
  ended(session: Session, reason: OfflineReason): void;
  /** Its connection is gone, at once or some time after the end. Called once. */
  left(session: Session): void;
}

/** Commands that may wait for one device. */
const MAX_WAITING = 16;

interface Current {
  readonly command: SessionCommand;
  readonly isWritten: boolean;
  readonly deadline: Deadline | undefined;
}

interface Waiting {
  readonly command: SessionCommand;
  readonly deadline: Deadline;
}

/** Of those that were ever commanded; most never are. */
interface Commands {
  current: Current | undefined;
  readonly waiting: Waiting[];
  /** What the connection has not taken of the current one. */
  unwritten: Uint8Array | undefined;
}

export class Session implements TcpReader {
  readonly #host: SessionHost;
  readonly #connection: TcpConnection;
  readonly address: string;
  /** Epoch milliseconds. */
  readonly connectedAt: number;
  /** When something came of it last. */
  seenAt: number;
  /** Set when it is online; "" while it greets. */
  id = "";
  /** Written by the gateway, when it comes online and when it is told of anew. */
  epoch = 0;
  /** How often it was told of anew, because its node was taken for gone. Written by the gateway. */
  revision = 0;
  /** Its present epoch was told to everybody. Written by the gateway. */
  isTold = false;
  #isEnded = false;
  #rest: Uint8Array | undefined;
  #commands: Commands | undefined;

  constructor(host: SessionHost, connection: TcpConnection) {
    this.#host = host;
    this.#connection = connection;
    this.address = connection.address;
    this.connectedAt = this.seenAt = host.clock.now();
  }

  get remoteHost(): string {
    return this.#connection.host;
  }

  get isOnline(): boolean {
    return this.id !== "" && !this.#isEnded;
  }

  /** A command is under way. */
  get isBusy(): boolean {
    return this.#commands?.current !== undefined;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  received(bytes: Uint8Array): void {
    const { maxLineBytes, clock } = this.#host;
    this.seenAt = clock.now();
    const { lines, rest, isTooLong } = frame(this.#rest, bytes, maxLineBytes);
    this.#rest = rest;
    for (const line of lines) {
      // One that was ended by a line has said enough.
      if (this.#isEnded) return;
      this.#line(line);
    }
    if (isTooLong) this.end("line-too-long", `a line is longer than ${maxLineBytes} bytes`);
  }

  drained(): void {
    const commands = this.#commands;
    if (commands?.unwritten === undefined) return;
    const taken = this.#connection.write(commands.unwritten);
    if (taken < commands.unwritten.length) {
      commands.unwritten = commands.unwritten.subarray(taken);
    } else this.#written(commands);
  }

  closed(isBroken: boolean): void {
    this.#over(isBroken ? "lost" : "closed");
    this.#host.left(this);
  }

  /** Ends it, and says why where it can be said as a line of its own. Idempotent. */
  end(reason: OfflineReason, text?: string): void {
    if (this.#isEnded) return;
    // In the middle of a line nobody would understand another.
    const isWhole = this.#commands?.unwritten === undefined;
    // First, for the connection may tell its end at once, and would give another reason.
    this.#over(reason);
    if (reason === "not-reading" || !isWhole) this.#connection.terminate();
    else this.#connection.end(text === undefined ? undefined : bytesOfLine(`error: ${text}`));
  }

  /** Reads no more until `resume`. */
  pause(): void {
    if (!this.#isEnded) this.#connection.pause();
  }

  resume(): void {
    if (!this.#isEnded) this.#connection.resume();
  }

  /** Takes a command; each begins when the one before it has ended. */
  send(command: SessionCommand): void {
    if (this.#isEnded) return finish(command, { kind: "lost", why: "its connection has ended" });
    const commands = this.#commands ??= { current: undefined, waiting: [], unwritten: undefined };
    if (commands.current === undefined) return this.#begin(commands, command);
    if (commands.waiting.length >= MAX_WAITING) {
      return finish(command, { kind: "busy", why: `${MAX_WAITING} commands wait for it already` });
    }
    const { clock, deadlines, writeMs } = this.#host;
    const entry: Waiting = {
      command,
      deadline: deadlines.set(clock.monotonic() + writeMs, () => {
        commands.waiting.splice(commands.waiting.indexOf(entry), 1);
        finish(command, { kind: "busy", why: `other commands kept it busy for ${writeMs} ms` });
      }),
    };
    commands.waiting.push(entry);
  }

  /** Nobody waits for a command any more: one that was written ends, one that waits is never written. */
  release(key: string): void {
    const commands = this.#commands;
    if (commands === undefined || key === "") return;
    if (commands.current?.isWritten === true && commands.current.command.key === key) {
      return this.#finish(commands, { kind: "no-reply" });
    }
    const place = commands.waiting.findIndex(({ command }) => command.key === key);
    const [released] = place === -1 ? [] : commands.waiting.splice(place, 1);
    if (released === undefined) return;
    this.#host.deadlines.cancel(released.deadline);
    finish(released.command, { kind: "busy", why: "whoever sent it waits no more" });
  }

  #line(line: Uint8Array): void {
    if (this.id === "") return this.#host.greeted(this, line);
    // A sign of life, and nothing else.
    if (line.length === 0) return;
    const commands = this.#commands;
    const current = commands?.current;
    this.#host.heard(this, line);
    if (commands !== undefined && current?.isWritten === true && commands.current === current) {
      this.#finish(commands, { kind: "replied", line: line.slice() });
    }
  }

  #begin(commands: Commands, command: SessionCommand): void {
    const { clock, deadlines, writeMs } = this.#host;
    const { bytes } = command;
    const taken = this.#connection.write(bytes);
    commands.current = { command, isWritten: false, deadline: undefined };
    if (taken === bytes.length) return this.#written(commands);
    commands.unwritten = bytes.subarray(taken);
    commands.current = {
      command,
      isWritten: false,
      deadline: deadlines.set(clock.monotonic() + writeMs, () => this.end("not-reading")),
    };
  }

  #written(commands: Commands): void {
    commands.unwritten = undefined;
    const { current } = commands;
    if (current === undefined) return;
    const { command, deadline } = current;
    const { clock, deadlines } = this.#host;
    if (deadline !== undefined) deadlines.cancel(deadline);
    if (command.replyMs === undefined) {
      commands.current = { command, isWritten: false, deadline: undefined };
      return this.#finish(commands, { kind: "written" });
    }
    command.handled();
    commands.current = {
      command,
      isWritten: true,
      deadline: deadlines.set(
        clock.monotonic() + command.replyMs,
        () => this.#finish(commands, { kind: "no-reply" }),
      ),
    };
  }

  /** Ends the current command, and begins the next. */
  #finish(commands: Commands, ending: SessionEnding): void {
    const { current } = commands;
    if (current === undefined) return;
    commands.current = undefined;
    const { command, deadline, isWritten } = current;
    if (deadline !== undefined) this.#host.deadlines.cancel(deadline);
    if (!isWritten) command.handled();
    command.ended(ending);
    const next = commands.waiting.shift();
    if (next === undefined) return;
    this.#host.deadlines.cancel(next.deadline);
    this.#begin(commands, next.command);
  }

  #over(reason: OfflineReason): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#rest = undefined;
    const commands = this.#commands;
    this.#commands = undefined;
    this.#host.ended(this, reason);
    if (commands === undefined) return;
    const { current, waiting } = commands;
    const { deadlines } = this.#host;
    if (current !== undefined) {
      if (current.deadline !== undefined) deadlines.cancel(current.deadline);
      if (!current.isWritten) current.command.handled();
      current.command.ended({ kind: "lost", why: LOST_BY[reason] });
    }
    for (const { command, deadline } of waiting.splice(0)) {
      deadlines.cancel(deadline);
      finish(command, { kind: "busy", why: LOST_BY[reason] });
    }
  }
}

/** A command that nothing was written of. */
function finish(command: SessionCommand, ending: SessionEnding): void {
  command.handled();
  command.ended(ending);
}

/** What is told of a command that was under way then. */
const LOST_BY: Readonly<Record<OfflineReason, string>> = {
  closed: "the device closed its connection",
  lost: "the connection to the device broke",
  replaced: "the device connected anew",
  idle: "nothing was heard of the device for too long",
  "line-too-long": "the device sent a line that was too long",
  "not-reading": "the device did not read",
  "node-stopped": "the node that holds the device stops",
  "node-gone": "the node that holds the device is gone",
};
