/**
 * One queue: what waits, who takes it, in which order. It decides and keeps; the disk, the clock and
 * the road of dead letters are its surroundings.
 */
import type { QueueStatus } from "../broker.ts";
import type { Message } from "../message.ts";
import type { DeathReason } from "./dead_letter.ts";
import { Entry, type EntryHome, entrySizeBytes } from "./entry.ts";
import { HandOutMark, STRETCH } from "./hand_out_mark.ts";
import type { QueueShape } from "./queue_shape.ts";
import { ReadyList } from "./ready_list.ts";
import type { Surroundings } from "./surroundings.ts";

/** Who takes messages from a queue. */
export interface Taker {
  /** Nobody else may take from the queue. */
  readonly isExclusive: boolean;
  /** May take one more now. */
  readonly hasRoom: boolean;
  /** Takes an entry; `message` is what it holds. Must not call back into the queue. */
  take(entry: Entry, message: Message, unreadable: string | undefined): void;
  /** The queue was deleted: what is held of it is void. */
  orphan(): void;
}

export class Queue implements EntryHome {
  readonly name: string;
  readonly shape: QueueShape;
  /** Names the queue on disk; queues that are not durable have none there. */
  readonly diskId: number;
  /** The connection that alone may use it; undefined: all may. */
  readonly owner: object | undefined;
  /** By priority. */
  readonly marks: readonly HandOutMark[];
  isDeleted = false;
  readonly #around: Surroundings;
  readonly #ready: ReadyList;
  #takers: Taker[] = [];
  /** Whose turn it is. */
  #turn = 0;

  constructor(
    name: string,
    shape: QueueShape,
    diskId: number,
    owner: object | undefined,
    around: Surroundings,
  ) {
    this.name = name;
    this.shape = shape;
    this.diskId = diskId;
    this.owner = owner;
    this.#around = around;
    this.#ready = new ReadyList(shape.maxPriority ?? 0);
    this.marks = Array.from(
      { length: (shape.maxPriority ?? 0) + 1 },
      (_, priority) => new HandOutMark(this, priority),
    );
  }

  get status(): QueueStatus {
    return { name: this.name, messages: this.#ready.count, consumers: this.#takers.length };
  }

  /**
   * Takes a message that was routed here.
   * @returns the entry when it must be committed before the message counts as safe.
   */
  offer(message: Message): Entry | undefined {
    const { persistent, priority = 0, expirationMs = Infinity } = message.properties;
    const around = this.#around;
    const ttlMs = Math.min(expirationMs, this.shape.messageTtlMs ?? Infinity);
    const entry = new Entry(
      around.nextId(),
      this,
      message,
      this.markOf(priority),
      ttlMs === Infinity ? Infinity : around.clock.monotonic() + ttlMs,
      entrySizeBytes(message.body.byteLength),
    );
    around.shelf.note(entry);
    if (persistent === true && this.shape.durable) around.journal.add(entry);
    const taker = this.#ready.count === 0 ? this.#nextTaker() : undefined;
    if (taker !== undefined) this.#hand(entry, taker);
    else if (ttlMs <= 0) this.#die(entry, "expired");
    else {
      this.#wait(entry);
      this.#shorten();
    }
    return entry.disk === "pending" ? entry : undefined;
  }

  /** Puts back an entry from disk. Entries come in the order of their ids. */
  restore(entry: Entry): void {
    this.#wait(entry);
  }

  /** The mark that messages of this priority have; priorities past the maximum count as it. */
  markOf(priority: number): HandOutMark {
    const mark = this.marks[Math.min(priority, this.marks.length - 1)];
    if (mark === undefined) throw new RangeError(`A priority is 0 to 255, got ${priority}`);
    return mark;
  }

  /** Whether a taker may take from it beside those who do. */
  hasPlaceFor(isExclusive: boolean): boolean {
    return this.#takers.length === 0 ||
      !(isExclusive || this.#takers.some((taker) => taker.isExclusive));
  }

  addTaker(taker: Taker): void {
    this.#takers.push(taker);
    this.pump();
  }

  removeTaker(taker: Taker): void {
    this.#takers = this.#takers.filter((other) => other !== taker);
  }

  pump(): void {
    const ready = this.#ready;
    for (let entry = ready.peek(); entry !== undefined; entry = ready.peek()) {
      if (this.#isLate(entry)) {
        this.#expire(entry);
        continue;
      }
      const taker = this.#nextTaker();
      if (taker === undefined) return;
      const { mark } = entry;
      if (!mark.covers(entry)) {
        // The journal pumps again when the mark is on disk.
        mark.want(ready.ahead(entry.priority, STRETCH)?.id ?? entry.id);
        this.#around.journal.moveMark(mark);
        return;
      }
      ready.dropFirst(entry);
      this.#stopClock(entry);
      this.#hand(entry, taker);
    }
  }

  settle(entry: Entry): void {
    if (entry.place === "held") this.#forget(entry);
  }

  reject(entry: Entry): void {
    if (entry.place !== "held") return;
    if (this.isDeleted) this.#forget(entry);
    else this.#die(entry, "rejected");
  }

  giveBack(entry: Entry, wasSeen: boolean): void {
    if (entry.place !== "held") return;
    if (this.isDeleted) return this.#forget(entry);
    if (wasSeen) entry.isRedelivered = true;
    this.#wait(entry);
    this.#shorten();
  }

  withdraw(entry: Entry): void {
    if (entry.place !== "ready") return;
    this.#takeOut(entry);
    this.#forget(entry);
  }

  /** Removes all that waits. */
  purge(): number {
    const entries = this.#ready.all();
    for (const entry of entries) {
      this.#takeOut(entry);
      this.#forget(entry);
    }
    return entries.length;
  }

  /** The last call on a queue: what is held is void, what waits is gone. */
  delete(): void {
    this.isDeleted = true;
    this.purge();
    const takers = this.#takers;
    this.#takers = [];
    for (const taker of takers) taker.orphan();
  }

  /** Lets nothing expire any more: the broker stops. */
  stopClocks(): void {
    for (const entry of this.#ready.all()) this.#stopClock(entry);
  }

  #hand(entry: Entry, taker: Taker): void {
    entry.place = "held";
    entry.wasHanded = true;
    if (entry.disk !== "never") entry.mark.noteHanded(entry);
    let { message } = entry;
    let unreadable: string | undefined;
    if (message === undefined) ({ message, unreadable } = this.#around.shelf.fetch(entry));
    taker.take(entry, message, unreadable);
  }

  #nextTaker(): Taker | undefined {
    const takers = this.#takers;
    for (let tried = 0; tried < takers.length; tried++) {
      if (this.#turn >= takers.length) this.#turn = 0;
      const taker = takers[this.#turn++];
      if (taker?.hasRoom) return taker;
    }
    return undefined;
  }

  #wait(entry: Entry): void {
    entry.place = "ready";
    this.#ready.push(entry);
    if (entry.expiresAt !== Infinity) {
      entry.deadline = this.#around.deadlines.set(entry.expiresAt, () => this.#expire(entry));
    }
  }

  #isLate(entry: Entry): boolean {
    return entry.expiresAt !== Infinity && entry.expiresAt <= this.#around.clock.monotonic();
  }

  #expire(entry: Entry): void {
    this.#takeOut(entry);
    this.#die(entry, "expired");
  }

  #shorten(): void {
    const { maxLength = Infinity } = this.shape;
    while (this.#ready.count > maxLength) {
      const surplus = this.#ready.peek();
      if (surplus === undefined) return;
      this.#takeOut(surplus);
      this.#die(surplus, "maxlen");
    }
  }

  #takeOut(entry: Entry): void {
    this.#stopClock(entry);
    entry.place = "held";
    this.#ready.noteGap(entry);
  }

  #stopClock(entry: Entry): void {
    if (entry.deadline === undefined) return;
    this.#around.deadlines.cancel(entry.deadline);
    entry.deadline = undefined;
  }

  /** The dead letter is on its way before the entry is forgotten: both go with one commit. */
  #die(entry: Entry, reason: DeathReason): void {
    if (this.shape.deadLetterExchange !== undefined) {
      const message = entry.message ?? this.#around.shelf.fetch(entry).message;
      this.#around.bury(message, this, reason);
    }
    this.#forget(entry);
  }

  #forget(entry: Entry): void {
    entry.place = "gone";
    this.#around.shelf.release(entry);
    this.#around.journal.forget(entry);
  }
}
