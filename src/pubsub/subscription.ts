/** One subscriber: what waits for it, within a bound, until whoever writes to it takes it. */
import { bytesOf } from "./replay_buffer.ts";
import type { ChannelEvent, ChannelGap } from "./channel_event.ts";

export interface BacklogLimits {
  readonly maxMessages: number;
  readonly maxBytes: number;
}

/** Where a subscription belongs to; told when it ends. */
export interface SubscriptionOwner {
  readonly limits: BacklogLimits;
  /** Something waits for this subscription, which is being waited for. */
  wake(subscription: Subscription): void;
  closed(subscription: Subscription): void;
}

export class Subscription implements Disposable {
  readonly pattern: string;
  readonly #owner: SubscriptionOwner;
  #waiting: ChannelEvent[] = [];
  #bytes = 0;
  #isClosed = false;
  #awaited: PromiseWithResolvers<void> | undefined;

  constructor(pattern: string, owner: SubscriptionOwner) {
    this.pattern = pattern;
    this.#owner = owner;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves when something waits, or it is closed. One may wait at a time. */
  ready(): Promise<void> {
    if (this.#waiting.length > 0 || this.#isClosed) return Promise.resolve();
    this.#awaited ??= Promise.withResolvers<void>();
    return this.#awaited.promise;
  }

  /**
   * Takes what waits, in order. A gap stands where messages were dropped.
   * @param limit at most so many events; default all.
   */
  take(limit = Infinity): readonly ChannelEvent[] {
    if (this.#waiting.length > limit) {
      const taken = this.#waiting.splice(0, limit);
      for (const event of taken) if (event.kind === "message") this.#bytes -= bytesOf(event);
      return taken;
    }
    const taken = this.#waiting;
    this.#waiting = [];
    this.#bytes = 0;
    return taken;
  }

  /** Adds an event; one that has no room takes all that waits with it, and a gap says so. */
  push(event: ChannelEvent): void {
    if (this.#isClosed) return;
    this.#waiting.push(event);
    if (event.kind === "message") this.#bytes += bytesOf(event);
    const { maxMessages, maxBytes } = this.#owner.limits;
    if (this.#waiting.length > maxMessages || this.#bytes > maxBytes) this.#drop(event);
    if (this.#awaited !== undefined) this.#owner.wake(this);
  }

  /** Called by the owner: whoever waits goes on. */
  resume(): void {
    const awaited = this.#awaited;
    this.#awaited = undefined;
    awaited?.resolve();
  }

  /** Takes nothing more; what waits can still be taken. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#owner.closed(this);
    this.resume();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #drop({ seq, at }: ChannelEvent): void {
    let missed = 0;
    for (const event of this.#waiting) missed += event.kind === "gap" ? event.missed ?? 0 : 1;
    const gap: ChannelGap = { kind: "gap", seq, reason: "too_slow", missed, at };
    this.#waiting = [gap];
    this.#bytes = 0;
  }
}
