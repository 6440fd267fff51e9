/**
 * Which durable messages of one queue and priority may have been handed out, as the disk knows it:
 * one id, up to which all may have been. After a crash what is still there up to the mark is
 * delivered as redelivered, what is above it is not.
 *
 * The mark is committed before a message that is on disk goes out, so a second run is always told;
 * it is moved many messages ahead at once, so a backlog costs one commit for each such stretch. The
 * alternatives: a mark for each message is a write (and a wait) for each delivery, and marking all
 * that is recovered sends a whole backlog through processes of their own after any crash. The price
 * of this one is at most a stretch of messages that are marked although nobody has seen them.
 */

/** The queue that the mark belongs to. */
export interface MarkedQueue {
  /** Names the queue on disk. */
  readonly diskId: number;
  /** Hands out what waits, as far as takers have room. */
  pump(): void;
}

/** A message of that queue. */
export interface MarkedEntry {
  readonly id: number;
  readonly disk: "never" | "pending" | "written";
}

/** How many messages behind the first waiting one the mark is moved. */
export const STRETCH = 256;

export class HandOutMark {
  readonly home: MarkedQueue;
  readonly priority: number;
  /** What the disk holds. Written by the journal. */
  committedUpTo = 0;
  /** What the disk shall hold after the next commit. */
  wantedUpTo = 0;
  /** The highest id that was handed out, in this life of the broker or the last. */
  handedUpTo = 0;

  constructor(home: MarkedQueue, priority: number) {
    this.home = home;
    this.priority = priority;
  }

  /** What is not on disk cannot come back after a crash: only written messages need the mark. */
  covers(entry: MarkedEntry): boolean {
    return entry.disk !== "written" || entry.id <= this.committedUpTo;
  }

  want(upTo: number): void {
    if (upTo > this.wantedUpTo) this.wantedUpTo = upTo;
  }

  noteHanded(entry: MarkedEntry): void {
    if (entry.id > this.handedUpTo) this.handedUpTo = entry.id;
  }

  /** Takes over what the disk holds from the broker's last life. */
  restore(upTo: number): void {
    this.committedUpTo = upTo;
    this.wantedUpTo = upTo;
    this.handedUpTo = upTo;
  }
}
