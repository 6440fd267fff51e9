/**
 * Tells the lines of devices on the channels `device.<id>.line`, each device's in their order: bounded,
 * kept for a while when the broker is away, and slowing down those who send when it is slow.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { BrokerAwayError } from "../broker/errors.ts";
import type { Clock, Timer } from "../lifecycle/clock.ts";
import { publishOnChannel } from "../pubsub/publish.ts";
import { lineChannel } from "./device_id.ts";
import { textOfLine } from "./framing.ts";

const log = getLogger(["coxswain", "devices"]);

/** Lines that the broker has not confirmed. */
const WINDOW = 1_024;
const MAX_LINES = 10_000;
const MAX_BYTES = 8 * 2 ** 20;
/** Lost lines are told so often, and how many. */
const TELL_EVERY_MS = 10_000;
const SIP_MS = 100;
/** After a failure that the broker's return does not end. */
const PAUSE_MS = 200;

/** Who sent a line, as far as it matters here. */
export interface LineSender {
  readonly id: string;
  pause(): void;
  resume(): void;
}

interface Line {
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly at: number;
}

export class LineOutbox {
  readonly #broker: Broker;
  readonly #node: string;
  readonly #clock: Clock;
  /** Were on their way when the broker was lost, in order: they go first. */
  #again: Line[] = [];
  #lines: Line[] = [];
  /** Of `#lines`, gone already: shifting would move all the rest. */
  #first = 0;
  #bytes = 0;
  #underWay = 0;
  readonly #slowed = new Set<LineSender>();
  #dropped = 0;
  #report: Timer | undefined;
  #pause: Timer | undefined;
  /** Until those that were slowed down are read again while the broker is away. */
  #sip: Timer | undefined;
  #unwatch: (() => void) | undefined;
  /** Lines that were lost since the start, for nobody took them in time. */
  lost = 0;

  constructor(broker: Broker, node: string, clock: Clock) {
    this.#broker = broker;
    this.#node = node;
    this.#clock = clock;
  }

  start(): void {
    this.#unwatch = this.#broker.watch(() => this.#pump());
  }

  /** Lines that wait. */
  get size(): number {
    return this.#again.length + this.#lines.length - this.#first;
  }

  /** @param line is copied. */
  push(sender: LineSender, line: Uint8Array): void {
    this.#lines.push({ id: sender.id, bytes: line.slice(), at: this.#clock.now() });
    this.#bytes += line.length;
    this.#pump();
    if (!this.#isFull) return;
    // Whoever sends faster than the broker takes has to wait.
    if (!this.#slowed.has(sender)) sender.pause();
    this.#slowed.add(sender);
    if (this.#broker.state.kind !== "connected") {
      this.#speedUpLater();
      while (this.#isFull) this.#drop();
    }
    while (this.size > MAX_LINES * 2 || this.#bytes > MAX_BYTES * 2) this.#drop();
  }

  /** A sender that is no more. */
  forget(sender: LineSender): void {
    this.#slowed.delete(sender);
  }

  stop(): void {
    this.#unwatch?.();
    this.#pause?.cancel();
    this.#report?.cancel();
    this.#sip?.cancel();
    this.#lines = this.#again = [];
    this.#first = 0;
    this.#bytes = 0;
  }

  get #isFull(): boolean {
    return this.size > MAX_LINES || this.#bytes > MAX_BYTES;
  }

  #take(): Line | undefined {
    const again = this.#again.shift();
    if (again !== undefined) {
      this.#bytes -= again.bytes.length;
      return again;
    }
    const line = this.#lines[this.#first];
    if (line === undefined) return undefined;
    this.#first += 1;
    this.#bytes -= line.bytes.length;
    if (this.#first >= 1_024 && this.#first * 2 >= this.#lines.length) {
      this.#lines = this.#lines.slice(this.#first);
      this.#first = 0;
    }
    return line;
  }

  #drop(): void {
    if (this.#take() !== undefined) this.#lost();
  }

  #lost(): void {
    this.lost += 1;
    this.#dropped += 1;
    this.#report ??= this.#clock.after(TELL_EVERY_MS, () => {
      this.#report = undefined;
      log.warn("Lines of devices were lost: the broker did not take them in time", {
        lines: this.#dropped,
      });
      this.#dropped = 0;
    });
  }

  #pump(): void {
    if (this.#broker.state.kind !== "connected") {
      if (this.#slowed.size > 0) this.#speedUpLater();
      return;
    }
    if (this.#pause !== undefined) return;
    while (this.#underWay < WINDOW) {
      const line = this.#take();
      if (line === undefined) break;
      this.#underWay += 1;
      void this.#send(line);
    }
    if (this.size <= MAX_LINES / 2 && this.#bytes <= MAX_BYTES / 2) this.#speedUp();
  }

  /**
   * While the broker is away, what is too much is dropped, and who sends it is read a little at a time:
   * a flood must not keep this process from all else, and a device that leaves must be noticed.
   */
  #speedUpLater(): void {
    this.#sip ??= this.#clock.after(SIP_MS, () => {
      this.#sip = undefined;
      this.#speedUp();
    });
  }

  /** Those that were slowed down may go on. */
  #speedUp(): void {
    for (const sender of this.#slowed) sender.resume();
    this.#slowed.clear();
  }

  async #send(line: Line): Promise<void> {
    const { id, bytes, at } = line;
    try {
      await publishOnChannel(this.#broker, lineChannel(id), {
        contentType: textOfLine(bytes) === undefined
          ? "application/octet-stream"
          : "text/plain; charset=utf-8",
        body: bytes,
        headers: { "cox-device": id, "cox-node": this.#node, "cox-at": new Date(at).toISOString() },
        isPersistent: true,
      });
    } catch (error) {
      this.#failed(line, error);
    }
    this.#underWay -= 1;
    this.#pump();
  }

  /** Whether the broker has taken it nobody knows: it comes again rather than never. */
  #failed(line: Line, error: unknown): void {
    if (error instanceof BrokerAwayError) {
      this.#again.push(line);
      this.#bytes += line.bytes.length;
    } else {
      this.#lost();
      log.warn("A line of a device was not taken: {reason}", {
        device: line.id,
        reason: error instanceof Error ? error.message : String(error),
      });
    }
    this.#pause ??= this.#clock.after(PAUSE_MS, () => {
      this.#pause = undefined;
      this.#pump();
    });
  }
}
