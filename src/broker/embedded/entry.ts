/** One message in one queue, from the moment it is routed there until the queue forgets it. */
import type { Deadline } from "../../async/deadlines.ts";
import type { Message } from "../message.ts";
import type { HandOutMark, MarkedEntry, MarkedQueue } from "./hand_out_mark.ts";

/** Where it is: waiting in its queue, with a consumer, or done with. Written by its queue alone. */
export type EntryPlace = "ready" | "held" | "gone";

/**
 * How it stands with the disk. Written by the journal alone.
 * - `never`: a transient message, or a queue that is not durable
 * - `pending`: to be written with the next group
 * - `written`: committed
 */
export type EntryDisk = MarkedEntry["disk"];

/** What holders of an entry ask of the queue that it belongs to. */
export interface EntryHome extends MarkedQueue {
  readonly name: string;
  /** The taker is done with the entry. */
  settle(entry: Entry): void;
  /** The taker will not have it, and nobody else shall. */
  reject(entry: Entry): void;
  /** The taker gives it back: it returns to its old place. Pumping is left to the caller. */
  giveBack(entry: Entry, wasSeen: boolean): void;
  /** Its publisher was told that it failed: nobody shall see it who has not yet. */
  withdraw(entry: Entry): void;
}

/** What an entry costs in memory besides its body, roughly. */
const ENTRY_BYTES = 600;

export class Entry {
  /** Grows with each entry of the broker, over restarts too: the order in a queue. */
  readonly id: number;
  readonly home: EntryHome;
  /** Of its queue and priority. */
  readonly mark: HandOutMark;
  /** On the clock's monotonic scale, in milliseconds; Infinity: never. */
  readonly expiresAt: number;
  readonly sizeBytes: number;
  /** Undefined while it is only on disk. Written by the shelf. */
  message: Message | undefined;
  isRedelivered = false;
  /** It was given to a consumer at least once. */
  wasHanded = false;
  place: EntryPlace = "held";
  disk: EntryDisk = "never";
  /** Set while it is ready and can expire. */
  deadline: Deadline | undefined = undefined;

  /** Already capped at the queue's maximum. */
  get priority(): number {
    return this.mark.priority;
  }

  constructor(
    id: number,
    home: EntryHome,
    message: Message | undefined,
    mark: HandOutMark,
    expiresAt: number,
    sizeBytes: number,
  ) {
    this.id = id;
    this.home = home;
    this.message = message;
    this.mark = mark;
    this.expiresAt = expiresAt;
    this.sizeBytes = sizeBytes;
  }
}

export function entrySizeBytes(bodyBytes: number): number {
  return bodyBytes + ENTRY_BYTES;
}
