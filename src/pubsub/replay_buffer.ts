/** The latest events of a front, for subscribers that come back: bounded in number, bytes and age. */
import { createdAtOf, newId } from "../platform/ids.ts";
import type { ChannelEvent, ChannelMessage } from "./channel_event.ts";

export interface ReplayLimits {
  readonly maxMessages: number;
  readonly maxBytes: number;
  readonly maxAgeMs: number;
}

/** What is kept after a message. */
export type Replay =
  | { readonly kind: "kept"; readonly events: readonly ChannelEvent[] }
  /** The message is not known: these are younger than it by its id, and others may be missing. */
  | { readonly kind: "not_kept"; readonly events: readonly ChannelEvent[] };

/** Written by `Channels` alone. */
export class ReplayBuffer {
  readonly #limits: ReplayLimits;
  #events: (ChannelEvent | undefined)[] = [];
  /** Events before this index are gone, and undefined; the array is cut now and then. */
  #start = 0;
  #bytes = 0;
  readonly #seqOf = new Map<string, number>();
  /** Instant of the youngest event that is gone, or from which on events were heard at all. */
  #forgottenAt: number;
  /** Places that were told while nothing was kept, the latest last. */
  #marks: { readonly id: string; readonly seq: number }[] = [];
  #lastSeq = 0;
  #forgottenSeq = 0;

  /** @param since epoch milliseconds: what was published before was not heard. */
  constructor(limits: ReplayLimits, since: number) {
    this.#limits = limits;
    this.#forgottenAt = since;
  }

  get size(): number {
    return this.#events.length - this.#start;
  }

  add(event: ChannelEvent): void {
    this.#lastSeq = event.seq;
    this.#events.push(event);
    if (event.kind === "message") {
      this.#bytes += bytesOf(event);
      this.#seqOf.set(event.id, event.seq);
    }
    this.#forget(event.at);
  }

  /** An id after which whatever comes from now on is: for who has not seen any message yet. */
  position(): string {
    for (let index = this.#events.length - 1; index >= this.#start; index--) {
      const event = this.#events[index];
      if (event?.kind === "message" && event.seq === this.#lastSeq) return event.id;
      break;
    }
    const mark = this.#marks.at(-1);
    if (mark?.seq === this.#lastSeq) return mark.id;
    const id = newId();
    this.#marks = [...this.#marks.slice(-MAX_MARKS), { id, seq: this.#lastSeq }];
    return id;
  }

  /** @param now epoch milliseconds: what is too old by then is forgotten first. */
  after(id: string, now: number): Replay {
    this.#forget(now);
    const kept = this.#events.slice(this.#start).filter((event) => event !== undefined);
    const seq = this.#seqOf.get(id) ?? this.#marks.find((mark) => mark.id === id)?.seq;
    if (seq !== undefined && seq >= this.#forgottenSeq) {
      return { kind: "kept", events: kept.filter((event) => event.seq > seq) };
    }
    // Ids of ours sort by time: of what is younger than all that is gone, nothing is missing.
    const at = createdAtOf(id) ?? -Infinity;
    const events = kept.filter((event) => event.kind === "gap" ? event.at >= at : event.id > id);
    return { kind: at > this.#forgottenAt ? "kept" : "not_kept", events };
  }

  #forget(now: number): void {
    const { maxMessages, maxBytes, maxAgeMs } = this.#limits;
    while (this.size > 0) {
      const oldest = this.#events[this.#start];
      if (oldest === undefined) break;
      const isOver = this.size > maxMessages || this.#bytes > maxBytes ||
        oldest.at < now - maxAgeMs;
      if (!isOver) break;
      this.#events[this.#start] = undefined;
      this.#start += 1;
      this.#forgottenAt = Math.max(this.#forgottenAt, oldest.at);
      this.#forgottenSeq = oldest.seq;
      if (oldest.kind === "gap") continue;
      this.#bytes -= bytesOf(oldest);
      // A publisher may have used an id twice: the later one is still known.
      if (this.#seqOf.get(oldest.id) === oldest.seq) this.#seqOf.delete(oldest.id);
    }
    if (this.#start < 1_024 || this.#start * 2 < this.#events.length) return;
    this.#events = this.#events.slice(this.#start);
    this.#start = 0;
  }
}

const MAX_MARKS = 100;

/** What a message costs besides its body: names and the objects around them. */
const OVERHEAD_BYTES = 256;

export function bytesOf({ body }: ChannelMessage): number {
  return body.length + OVERHEAD_BYTES;
}
