/**
 * The latest events of a front, in its order: what its subscribers read, each at its own pace, and what
 * those who come back go on with. Bounded in number, bytes and age.
 */
import type { Clock } from "../lifecycle/clock.ts";
import {
  type ChannelEvent,
  type ChannelMessage,
  gapEvent,
  type HeardMessage,
  messageJson,
} from "./channel_event.ts";
import { isPlace, MessageIds, type Stamp, stampOf } from "./message_id.ts";
import { type Position, readPosition, RecentMakers } from "./position.ts";

export interface ReplayLimits {
  readonly maxMessages: number;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

/** From where a subscriber goes on. */
export interface Resumption {
  /** What comes first: a gap, or what crossed with the message that it saw last. */
  readonly first: readonly ChannelEvent[];
  /** Places of what is kept for it and follows, in order. */
  readonly seqs: readonly number[];
  /** Maker → order up to which its messages are known to the subscriber, and have yet to come here. */
  readonly skip: ReadonlyMap<string, string>;
}

/** How much later than on another front a message may come here, in milliseconds. */
const CROSSING_MS = 1_000;
/** How far clocks of machines may differ, in milliseconds. */
const SKEW_MS = 1_000;
/** How long a message may be underway, in milliseconds. */
const UNDERWAY_MS = 10_000;
/** Publishers whose latest message is remembered. */
const MAX_MAKERS = 10_000;
/** Bytes past the limit at which it no longer waits for a good moment to forget. */
const MAX_EXCESS_BYTES = 64 * 2 ** 20;
const NOTHING: ReadonlyMap<string, string> = new Map();

/** Written by `Channels` alone. */
export class ReplayLog {
  readonly #limits: ReplayLimits;
  readonly #clock: Clock;
  readonly #places: MessageIds;
  readonly #recent = new RecentMakers();
  /** Maker → order of its latest message. */
  readonly #latest = new Map<string, string>();
  /** Events from `#firstSeq` on; those before `#start` are gone, and undefined. */
  #events: (ChannelEvent | undefined)[] = [];
  #start = 0;
  #firstSeq = 1;
  #bytes = 0;
  readonly #seqOf = new Map<string, number>();
  /** Just before the first that is kept. */
  #floor: { readonly id: string; readonly position: string };
  /** Instant of the youngest event that is gone, or from which on events were heard at all. */
  #forgottenAt: number;
  /** What was published before this instant may never have come here. */
  #deafUntil: number;
  /** Whose messages were heard since, and so will be. */
  readonly #heardSince = new Set<string>();

  constructor(limits: ReplayLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
    this.#places = new MessageIds(clock, "place");
    const id = this.#places.next();
    this.#floor = { id, position: id };
    this.#forgottenAt = this.#deafUntil = clock.now();
  }

  /** Events that are kept. */
  get size(): number {
    return this.#events.length - this.#start;
  }

  /** Place of the first that is kept. */
  get first(): number {
    return this.#firstSeq + this.#start;
  }

  /** Place of the next to come. */
  get next(): number {
    return this.#firstSeq + this.#events.length;
  }

  /** Where a subscriber is that has seen all. */
  get position(): string {
    return this.positionBefore(this.next);
  }

  at(seq: number): ChannelEvent | undefined {
    return this.#events[seq - this.#firstSeq];
  }

  /** Where a subscriber is that goes on with this event. */
  positionBefore(seq: number): string {
    return this.at(seq - 1)?.position ?? this.#floor.position;
  }

  newId(): string {
    return this.#places.next();
  }

  /** @returns its place. */
  append(heard: HeardMessage): number {
    const seq = this.next;
    const heardAt = this.#clock.monotonic();
    const position = this.#recent.note(heard.id, heard.stamp, this.#isAlone(heard.stamp), heardAt);
    const { members: _, ...told } = heard;
    const json = messageJson(heard, position);
    this.#push({ ...told, kind: "message", seq, position, json, heardAt });
    if (heard.stamp !== undefined) this.#heard(heard.stamp);
    this.#bytes += heard.bytes;
    if (this.#bytes > this.#limits.maxBytes + MAX_EXCESS_BYTES) this.forget();
    return seq;
  }

  /** Messages have been missed. @returns the place of the gap. */
  appendGap(): number {
    const seq = this.next;
    const now = this.#clock.now();
    this.#deafUntil = now;
    this.#heardSince.clear();
    this.#push(gapEvent(seq, this.newId(), "broker_away", now));
    return seq;
  }

  /** Lets go of what is past the limits. */
  forget(): void {
    const { maxMessages, maxBytes, maxAgeMs } = this.#limits;
    const oldestAt = this.#clock.now() - maxAgeMs;
    while (this.size > 0) {
      const oldest = this.#events[this.#start];
      const isOver = this.size > maxMessages || this.#bytes > maxBytes ||
        (oldest !== undefined && oldest.at < oldestAt);
      if (oldest === undefined || !isOver) break;
      this.#events[this.#start] = undefined;
      this.#start += 1;
      const id = idOfEvent(oldest);
      // A publisher may have used an id twice: the later one is still known.
      if (this.#seqOf.get(id) === oldest.seq) this.#seqOf.delete(id);
      this.#floor = { id, position: oldest.position };
      this.#forgottenAt = Math.max(this.#forgottenAt, oldest.at);
      if (oldest.kind === "message") this.#bytes -= oldest.bytes;
    }
    if (this.#start < 1_024 || this.#start * 2 < this.#events.length) return;
    this.#events = this.#events.slice(this.#start);
    this.#firstSeq += this.#start;
    this.#start = 0;
  }

  /** @param text the position that a subscriber has, or the id of a message. */
  resume(text: string, matches: (channel: string) => boolean): Resumption {
    this.forget();
    const position = this.#seqOf.has(text) ? { id: text } : readPosition(text);
    const wants = (event: ChannelEvent) => event.kind === "gap" || matches(event.channel);
    const seq = this.#seqOf.get(position.id) ??
      (position.id === this.#floor.id ? this.first - 1 : undefined);
    if (seq !== undefined) {
      const event = this.at(seq);
      if (position.seen === undefined || event?.position === text) {
        return { first: [], seqs: this.#seqs(seq + 1, wants), skip: NOTHING };
      }
      const stamp = event?.kind === "message" ? event.stamp : undefined;
      return this.#cross(text, seq, stamp, position.seen, wants);
    }
    const stamp = stampOf(position.id);
    return stamp !== undefined && this.#isUnderway(stamp)
      ? this.#cross(text, this.next, stamp, position.seen, wants)
      : this.#sinceInstant(position, stamp, wants);
  }

  /**
   * Goes on from another front's order: with what came later there than here, and without what was seen
   * there and came later here.
   * @param seq of the message that was seen last; of the next to come where it is underway.
   */
  #cross(
    text: string,
    seq: number,
    stamp: Stamp | undefined,
    others: ReadonlyMap<string, string> | undefined,
    wants: (event: ChannelEvent) => boolean,
  ): Resumption {
    const seen = new Map(others);
    if (stamp !== undefined) seen.set(stamp.maker, stamp.order);
    const isNew = (event: ChannelEvent) =>
      event.kind === "gap" || event.stamp === undefined ||
      event.stamp.order > (seen.get(event.stamp.maker) ?? "");
    const crossed = others === undefined ? [] : this.#shortlyBefore(seq)
      .filter((event) => event.stamp !== undefined && isNew(event) && wants(event));
    // Who has seen but some of them has not gone past the message yet.
    const whole = this.at(seq)?.position ?? text;
    const skip = [...seen].filter(([maker, order]) => (this.#latest.get(maker) ?? "") < order);
    return {
      first: crossed.map((event, index) => ({
        ...event,
        position: index === crossed.length - 1 ? whole : text,
      })),
      seqs: this.#seqs(seq + 1, (event) => wants(event) && isNew(event)),
      skip: new Map(skip),
    };
  }

  /** Messages that came so shortly before one that they may have come after it elsewhere. */
  #shortlyBefore(seq: number): readonly ChannelMessage[] {
    const found: ChannelMessage[] = [];
    const pivot = this.at(seq);
    const heardAt = pivot?.kind === "message" ? pivot.heardAt : this.#clock.monotonic();
    for (let before = seq - 1; before >= this.first; before--) {
      const event = this.at(before);
      if (event?.kind !== "message") continue;
      if (event.heardAt < heardAt - CROSSING_MS) break;
      found.push(event);
    }
    return found.reverse();
  }

  /** By what ids tell of time: nothing is left out, and something may come twice. */
  #sinceInstant(
    { seen }: Position,
    stamp: Stamp | undefined,
    wants: (event: ChannelEvent) => boolean,
  ): Resumption {
    const since = (stamp?.at ?? -Infinity) - SKEW_MS;
    const seqs = this.#seqs(this.first, (event) => {
      if (event.at < since || !wants(event)) return false;
      const order = event.kind === "message" ? event.stamp?.order : undefined;
      const maker = event.kind === "message" ? event.stamp?.maker : undefined;
      if (order === undefined || maker === undefined) return true;
      return order > ((maker === stamp?.maker ? stamp.order : seen?.get(maker)) ?? "");
    });
    const at = this.positionBefore(seqs[0] ?? this.next);
    const gap = gapEvent(this.next, at, "not_kept", this.#clock.now());
    return { first: since > this.#forgottenAt ? [] : [gap], seqs, skip: NOTHING };
  }

  /** Published a moment ago, and not here yet. */
  #isUnderway(stamp: Stamp): boolean {
    const isHeard = this.#heardSince.has(stamp.maker) || stamp.at > this.#deafUntil + SKEW_MS;
    return !isPlace(stamp) && isHeard &&
      Math.abs(this.#clock.now() - stamp.at) < UNDERWAY_MS &&
      (this.#latest.get(stamp.maker) ?? "") < stamp.order;
  }

  #seqs(from: number, wants: (event: ChannelEvent) => boolean): number[] {
    const found: number[] = [];
    for (let seq = Math.max(from, this.first); seq < this.next; seq++) {
      const event = this.at(seq);
      if (event !== undefined && wants(event)) found.push(seq);
    }
    return found;
  }

  /** Nobody but this publisher was ever heard. */
  #isAlone(stamp: Stamp | undefined): boolean {
    const own = stamp !== undefined && this.#latest.has(stamp.maker) ? 1 : 0;
    return this.#latest.size === own;
  }

  #push(event: ChannelEvent): void {
    this.#events.push(event);
    this.#seqOf.set(idOfEvent(event), event.seq);
  }

  #heard({ maker, order }: Stamp): void {
    this.#latest.delete(maker);
    this.#latest.set(maker, order);
    this.#heardSince.add(maker);
    if (this.#latest.size <= MAX_MAKERS) return;
    const { value: longestSilent } = this.#latest.keys().next();
    if (longestSilent === undefined) return;
    this.#latest.delete(longestSilent);
    this.#heardSince.delete(longestSilent);
  }
}

function idOfEvent(event: ChannelEvent): string {
  return event.kind === "message" ? event.id : event.position;
}
