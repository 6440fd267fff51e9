/**
 * One subscriber: a place in the front's log, from which whoever writes to it takes what follows. It
 * holds no messages of its own; one that lags too far behind is told how many it missed.
 */
import { type ChannelEvent, gapEvent } from "./channel_event.ts";
import type { Stamp } from "./message_id.ts";
import type { PatternGroup } from "./pattern_group.ts";
import type { ReplayLog, Resumption } from "./replay_log.ts";

/** Where a subscription belongs to. */
export interface SubscriptionOwner {
  readonly log: ReplayLog;
  readonly group: PatternGroup;
  /** Most messages that it may lag behind. */
  readonly maxBacklog: number;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Told once, when it ends. */
  readonly closed: (subscription: Subscription) => void;
}

export class Subscription implements Disposable {
  readonly #owner: SubscriptionOwner;
  /** Events that come before all others. */
  #first: readonly ChannelEvent[];
  /** Places of what was kept for it when it came; taken up to `#replayed`. */
  readonly #replay: readonly number[];
  #replayed = 0;
  /** See `Resumption.skip`; those that have come are taken out. */
  readonly #skip: Map<string, string>;
  /** Place of the next that it takes from its group. */
  #next: number;
  /** How many of its group's events it has taken, or missed and been told. */
  #taken: number;
  /** Of what it saw last. */
  #position: string | undefined;
  #isClosed = false;
  #awaited: PromiseWithResolvers<void> | undefined;

  /** @param resumption absent: it gets what comes from now on. */
  constructor(owner: SubscriptionOwner, resumption?: Resumption, after?: string) {
    this.#owner = owner;
    this.#first = resumption?.first ?? NONE;
    this.#replay = resumption?.seqs ?? [];
    this.#skip = new Map(resumption?.skip);
    this.#next = owner.log.next;
    this.#taken = owner.group.count;
    this.#position = after;
  }

  get pattern(): string {
    return this.#owner.group.pattern;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Where it is: who subscribes after it gets what this one would get next. */
  get position(): string {
    const { log } = this.#owner;
    // What it saw last may have yet to come here; then that is where it is.
    if (!this.#isClosed && !this.#hasSome && this.#skip.size === 0) return log.position;
    return this.#position ?? log.positionBefore(this.#next);
  }

  get #hasSome(): boolean {
    return this.#first.length > 0 || this.#replayed < this.#replay.length ||
      this.#owner.group.count > this.#taken;
  }

  /**
   * The next events, in order, as many as are worth one write; waits for the first. A gap stands where
   * messages are missing. One may ask at a time.
   * @param limit at most so many events.
   * @returns none where the subscription is closed.
   */
  async next(limit = Infinity): Promise<readonly ChannelEvent[]> {
    while (true) {
      const events = this.take(limit);
      if (events.length > 0 || this.#isClosed) return events;
      await this.ready();
    }
  }

  /** As `next`, and does not wait. */
  take(limit = Infinity): readonly ChannelEvent[] {
    if (!this.#hasSome) return NONE;
    const events = this.#takeFirst(limit) ?? this.#takeReplay(limit) ?? this.#takeLive(limit);
    const last = events.at(-1);
    if (last !== undefined) this.#position = last.position;
    return events;
  }

  /** Resolves when there may be something to take, or it is closed. */
  ready(): Promise<void> {
    if (this.#hasSome || this.#isClosed) return Promise.resolve();
    this.#awaited ??= Promise.withResolvers<void>();
    this.#owner.group.waiting.add(this);
    return this.#awaited.promise;
  }

  /** Called by the owner: something has come. */
  wake(): void {
    const awaited = this.#awaited;
    this.#awaited = undefined;
    this.#owner.group.waiting.delete(this);
    awaited?.resolve();
  }

  /** Takes nothing more; what has come can still be taken. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#position = this.position;
    this.#isClosed = true;
    this.#owner.closed(this);
    this.wake();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #takeFirst(limit: number): readonly ChannelEvent[] | undefined {
    if (this.#first.length === 0) return undefined;
    const events = this.#first.slice(0, limit);
    this.#first = this.#first.slice(limit);
    return events;
  }

  /** Undefined where all that was kept for it is taken. */
  #takeReplay(limit: number): readonly ChannelEvent[] | undefined {
    if (this.#replayed >= this.#replay.length) return undefined;
    const from = this.#replayed;
    while (this.#replayed < this.#replay.length && !this.#at(this.#replayed)) this.#replayed += 1;
    const events = this.#gapOf(this.#replayed - from, this.#replay[this.#replayed] ?? this.#next);
    for (let bytes = 0; events.length < limit && bytes < REPLAY_BYTES; this.#replayed++) {
      const event = this.#at(this.#replayed);
      if (event === undefined) break;
      events.push(event);
      bytes += event.json.length;
    }
    return events;
  }

  #at(index: number): ChannelEvent | undefined {
    return this.#owner.log.at(this.#replay[index] ?? 0);
  }

  #takeLive(limit: number): readonly ChannelEvent[] {
    const gap = this.#gapOf(this.#miss(), this.#next);
    const batch = this.#owner.group.batch(this.#next);
    const room = limit - gap.length;
    const taken = batch.length <= room ? batch : batch.slice(0, room);
    this.#taken += taken.length;
    this.#next = (taken.at(-1)?.seq ?? this.#next - 1) + 1;
    const wanted = this.#skip.size === 0 ? taken : taken.filter((event) => this.#isNew(event));
    // The group's own array where it can be: what is made of it is made once for all.
    return gap.length === 0 ? wanted : [...gap, ...wanted];
  }

  /** @param seq of what follows the gap. */
  #gapOf(missed: number, seq: number): ChannelEvent[] {
    const { log, now } = this.#owner;
    return missed === 0 ? [] : [gapEvent(seq, log.positionBefore(seq), "too_slow", now(), missed)];
  }

  /** Goes past what is forgotten, and past what is more than its backlog; tells how much that is. */
  #miss(): number {
    const { group, maxBacklog } = this.#owner;
    const kept = group.kept(this.#next);
    const backlog = Math.min(kept, maxBacklog);
    const missed = group.count - this.#taken - backlog;
    if (missed <= 0) return 0;
    this.#taken += missed;
    this.#next = group.latest(backlog);
    return missed;
  }

  #isNew(event: ChannelEvent): boolean {
    const stamp: Stamp | undefined = event.kind === "message" ? event.stamp : undefined;
    const seen = stamp === undefined ? undefined : this.#skip.get(stamp.maker);
    if (stamp === undefined || seen === undefined) return true;
    if (stamp.order >= seen) this.#skip.delete(stamp.maker);
    return stamp.order > seen;
  }
}

const NONE: readonly ChannelEvent[] = [];
const REPLAY_BYTES = 64 * 1024;
