/** All subscribers of one pattern: what matches it is looked up once for all of them. */
import type { ChannelEvent } from "./channel_event.ts";
import { channelMatcher } from "./channel_name.ts";
import type { ReplayLog } from "./replay_log.ts";
import type { Subscription } from "./subscription.ts";

/** So much is taken at a time, or one event that is larger. */
const BATCH_BYTES = 64 * 1024;
const MAX_BATCH_EVENTS = 1_000;

export class PatternGroup {
  readonly pattern: string;
  readonly matches: (channel: string) => boolean;
  readonly subscriptions = new Set<Subscription>();
  /** Those that have taken all and wait for more. */
  readonly waiting = new Set<Subscription>();
  readonly #log: ReplayLog;
  /** Places of what matched since the group is there; those that the log forgot are cut off. */
  #seqs: number[] = [];
  #count = 0;
  /** By where it begins: most subscribers take the same. */
  readonly #batches = new Map<number, readonly ChannelEvent[]>();

  constructor(pattern: string, log: ReplayLog) {
    this.pattern = pattern;
    this.matches = channelMatcher(pattern);
    this.#log = log;
  }

  /** How many events have matched since the group is there. */
  get count(): number {
    return this.#count;
  }

  add(seq: number): void {
    this.#count += 1;
    this.#seqs.push(seq);
    this.#batches.clear();
    const forgotten = this.#indexOf(this.#log.first);
    if (forgotten > 1_024 && forgotten * 2 > this.#seqs.length) {
      this.#seqs = this.#seqs.slice(forgotten);
    }
  }

  /** How many events from a place on are kept. */
  kept(from: number): number {
    return this.#seqs.length - this.#indexOf(Math.max(from, this.#log.first));
  }

  /** Place of the oldest of the latest `count` events; of the next to come where that is none. */
  latest(count: number): number {
    return this.#seqs[this.#seqs.length - count] ?? this.#log.next;
  }

  /** Events from a place on, as many as one takes at a time; the same array for all who ask now. */
  batch(from: number): readonly ChannelEvent[] {
    const known = this.#batches.get(from);
    if (known !== undefined) return known;
    const events: ChannelEvent[] = [];
    let bytes = 0;
    for (let index = this.#indexOf(from); index < this.#seqs.length; index++) {
      const event = this.#log.at(this.#seqs[index] ?? 0);
      if (event === undefined) continue;
      if (events.length >= MAX_BATCH_EVENTS || (bytes > 0 && bytes >= BATCH_BYTES)) break;
      events.push(event);
      bytes += event.json.length;
    }
    this.#batches.set(from, events);
    return events;
  }

  /** Forgets what was only kept because several may ask for it. */
  tidy(): void {
    this.#batches.clear();
  }

  /** Of the first place that is not before this one. */
  #indexOf(seq: number): number {
    let low = 0;
    let high = this.#seqs.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#seqs[middle] ?? Infinity) < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
