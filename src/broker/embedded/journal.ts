/**
 * When the disk is written. Changes gather and go in groups, one transaction each: the cost of making
 * them safe (an fsync) is that of a group, not of a message. Somebody who waits for safety gets it
 * with the next group, at the end of this turn of the event loop or a little later; what nobody waits
 * for (acks, unconfirmed messages) may gather for longer. A lost ack only means one more delivery.
 *
 * A group is written in one go, and brought to the disk while everybody else goes on; one group at a
 * time is on its way there, and what comes meanwhile is the next.
 *
 * A message that was taken and acked before its group is written never touches the disk.
 *
 * Where the disk fails, those who wait are told and the rest is kept and tried again.
 */
import type { Clock } from "../../lifecycle/clock.ts";
import { BrokerAwayError } from "../errors.ts";
import type { Entry } from "./entry.ts";
import type { HandOutMark } from "./hand_out_mark.ts";
import type { JournalFile, NewMessage, TopologyChange } from "./journal_file.ts";

/** How long changes may gather that nobody waits for. */
const LAZY_MS = 20;
/** So many changes are written without further delay. */
const FULL_GROUP = 2000;
/** A group that took longer than this is followed by a rest as long, so that others get their turn. */
const LONG_WRITE_MS = 2;
/** Longest such rest. */
const MAX_REST_MS = 10;
/** Pause before a failed disk is tried again. */
const RETRY_MS = 1000;

export interface JournalListener {
  /** These entries are on disk now. */
  committed(entries: readonly Entry[]): void;
  /** The disk failed (why), or works again (undefined). Told at each change. */
  diskFailed(reason: string | undefined): void;
}

interface Waiter {
  readonly entries: readonly Entry[];
  resolve(): void;
  reject(error: Error): void;
}

interface MovedMark {
  readonly mark: HandOutMark;
  readonly upTo: number;
}

/** A group that SQLite has, and that is on its way to the disk. */
interface Written {
  readonly inserts: readonly Entry[];
  /** The marks as they were written: what is wanted of them may have moved on since. */
  readonly marks: readonly MovedMark[];
  /** Nothing was left out because it finds no room. */
  readonly isWhole: boolean;
}

type Schedule =
  | { readonly kind: "none" }
  | { readonly kind: "lazy" | "soon"; readonly cancel: () => void };

export class Journal {
  readonly #file: JournalFile;
  readonly #clock: Clock;
  readonly #listener: JournalListener;
  #changes: TopologyChange[] = [];
  #removals: number[] = [];
  #inserts: Entry[] = [];
  #marks = new Set<HandOutMark>();
  #waiters: Waiter[] = [];
  #schedule: Schedule = { kind: "none" };
  /** No group is written before this (monotonic). */
  #restsUntil = 0;
  #failure: string | undefined;
  /** A group is on its way to the disk. */
  #syncing: Promise<void> | undefined;
  /** The next group is to go at once when it has come there. */
  #isNextWanted = false;
  #isClosed = false;

  constructor(file: JournalFile, clock: Clock, listener: JournalListener) {
    this.#file = file;
    this.#clock = clock;
    this.#listener = listener;
  }

  /** Keeps an entry from now on. */
  add(entry: Entry): void {
    entry.disk = "pending";
    this.#inserts.push(entry);
    this.#flushLater();
  }

  /** The queue has forgotten the entry. */
  forget(entry: Entry): void {
    if (entry.disk !== "written") return;
    this.#removals.push(entry.id);
    this.#flushLater();
  }

  change(change: TopologyChange): void {
    this.#changes.push(change);
    this.#flushLater();
  }

  /** Brings a mark to disk; its queue is pumped when it is there. */
  moveMark(mark: HandOutMark): void {
    this.#marks.add(mark);
    this.#flushSoon();
  }

  /**
   * Resolves when all that was given to the journal so far is on disk.
   * @param entries taken out of their queues if this fails and nobody has seen them.
   * @throws BrokerAwayError when the disk failed.
   */
  committed(entries: readonly Entry[] = []): Promise<void> {
    if (this.#isClosed) {
      return Promise.reject(new BrokerAwayError("Cannot write to disk: the broker was stopped"));
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push({ entries, resolve, reject });
      this.#flushSoon();
    });
  }

  /** Writes what is left, and the marks as they are, and closes the file. Idempotent. */
  async close(marks: Iterable<HandOutMark>): Promise<void> {
    if (this.#isClosed) return;
    // A mark that stands far ahead is right, too, only less exact than it can be now.
    for (const mark of marks) {
      if (mark.committedUpTo <= mark.handedUpTo) continue;
      mark.wantedUpTo = mark.handedUpTo;
      this.#marks.add(mark);
    }
    await this.#syncing;
    this.flush();
    this.#isClosed = true;
    this.#unschedule();
    await this.#syncing;
    this.#file.close();
  }

  /** Writes all that has gathered, now or as soon as the group before is on the disk. */
  flush(): void {
    if (this.#isClosed) return;
    this.#unschedule();
    if (this.#syncing !== undefined) {
      this.#isNextWanted = true;
      return;
    }
    const waiters = this.#waiters;
    this.#waiters = [];
    // What was settled since needs no place on disk any more.
    this.#inserts = this.#inserts.filter((entry) => entry.place !== "gone");
    if (!this.#hasWork) {
      for (const waiter of waiters) waiter.resolve();
      return;
    }
    try {
      const written = this.#write(this.#inserts);
      this.#inserts = [];
      this.#syncing = this.#sync(written, waiters);
    } catch (error) {
      this.#failed(error, waiters);
      this.#rescue();
    }
  }

  /** Never rejects. */
  async #sync(written: Written, waiters: readonly Waiter[]): Promise<void> {
    try {
      await this.#file.sync();
      if (written.isWhole) this.#tellFailure(undefined);
      this.#listener.committed(written.inserts);
      for (const waiter of waiters) waiter.resolve();
    } catch (error) {
      // Nobody knows whether it is there: who waits is told so, and it is taken out again.
      this.#failed(error, waiters);
    }
    this.#syncing = undefined;
    grant(written.marks);
    const isWanted = this.#isNextWanted;
    this.#isNextWanted = false;
    if (isWanted) this.#flushSoon();
  }

  /** Those who wait are told, and the disk is tried again later. */
  #failed(error: unknown, waiters: readonly Waiter[]): void {
    const reason = error instanceof Error ? error.message : String(error);
    for (const waiter of waiters) {
      for (const entry of waiter.entries) entry.home.withdraw(entry);
      waiter.reject(new BrokerAwayError(`Cannot write to disk: ${reason}`, { cause: error }));
    }
    this.#tellFailure(reason);
    this.#unschedule();
    this.#flushAfter("lazy", RETRY_MS);
  }

  get #hasWork(): boolean {
    return this.#changes.length + this.#removals.length + this.#inserts.length + this.#marks.size >
        0 || this.#failure !== undefined;
  }

  /** Writes what is there, with these inserts. @throws Error: then all is still there. */
  #write(inserts: readonly Entry[]): Written {
    for (const entry of inserts) {
      if (!entry.wasHanded) continue;
      entry.mark.want(entry.id);
      this.#marks.add(entry.mark);
    }
    const marks = movedMarks(this.#marks);
    const start = this.#clock.monotonic();
    this.#file.write({
      changes: this.#changes,
      removals: this.#removals,
      inserts: inserts.map((entry) => this.#rowOf(entry)),
      ...(this.#failure === undefined ? {} : { probeAt: this.#clock.now() }),
      marks: marks.map(({ mark, upTo }) => ({
        queue: mark.home.diskId,
        priority: mark.priority,
        upTo,
      })),
    });
    const end = this.#clock.monotonic();
    const tookMs = end - start;
    if (tookMs > LONG_WRITE_MS) this.#restsUntil = end + Math.min(tookMs, MAX_REST_MS);
    this.#changes = [];
    this.#removals = [];
    this.#marks = new Set();
    // From here on it takes a removal to be rid of it, and a mark to hand it out.
    for (const entry of inserts) entry.disk = "written";
    return { inserts, marks, isWhole: true };
  }

  /**
   * After a failure: what needs no more room (removals above all, which give some back) may still
   * pass. If not even that, consumers get their messages all the same: a crash in this state may
   * bring back a message unmarked, which is less harm than a broker that stands still.
   */
  #rescue(): void {
    try {
      this.#syncing = this.#sync({ ...this.#write([]), isWhole: this.#inserts.length === 0 }, []);
    } catch {
      grant(movedMarks(this.#marks));
    }
  }

  #tellFailure(reason: string | undefined): void {
    if (reason === this.#failure) return;
    this.#failure = reason;
    this.#listener.diskFailed(reason);
  }

  #rowOf(entry: Entry): NewMessage {
    if (entry.message === undefined) throw new Error(`Message ${entry.id} has no content to write`);
    const leftMs = entry.expiresAt - this.#clock.monotonic();
    return {
      id: entry.id,
      queue: entry.home.diskId,
      priority: entry.priority,
      expiresAt: leftMs === Infinity ? null : Math.round(this.#clock.now() + leftMs),
      message: entry.message,
    };
  }

  #flushLater(): void {
    if (this.#schedule.kind === "none") this.#flushAfter("lazy", LAZY_MS);
    else if (this.#removals.length + this.#inserts.length >= FULL_GROUP) this.#flushSoon();
  }

  #flushSoon(): void {
    if (this.#schedule.kind === "soon" || this.#isClosed) return;
    if (this.#syncing !== undefined) {
      this.#isNextWanted = true;
      return;
    }
    this.#unschedule();
    const restMs = this.#restsUntil - this.#clock.monotonic();
    if (restMs > 0) return this.#flushAfter("soon", Math.ceil(restMs));
    const immediate = setImmediate(() => this.flush());
    this.#schedule = { kind: "soon", cancel: () => clearImmediate(immediate) };
  }

  #flushAfter(kind: "lazy" | "soon", delayMs: number): void {
    if (this.#isClosed) return;
    const timer = this.#clock.after(delayMs, () => this.flush());
    this.#schedule = { kind, cancel: () => timer.cancel() };
  }

  #unschedule(): void {
    if (this.#schedule.kind !== "none") this.#schedule.cancel();
    this.#schedule = { kind: "none" };
  }
}

function movedMarks(marks: Iterable<HandOutMark>): MovedMark[] {
  return [...marks].map((mark) => ({ mark, upTo: mark.wantedUpTo }));
}

/** The disk knows: what the marks cover may go out. */
function grant(moved: readonly MovedMark[]): void {
  for (const { mark, upTo } of moved) mark.committedUpTo = upTo;
  for (const { mark } of moved) mark.home.pump();
}
