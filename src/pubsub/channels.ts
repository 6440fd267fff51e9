/**
 * A front's channels: one private queue that hears everything, the replay buffer behind it, and the
 * subscribers before it. How they are written to is src/http.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../broker/errors.ts";
import { PUBSUB_EXCHANGE } from "../broker/topology.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import { collectSoon } from "../platform/garbage.ts";
import { channelMatcher } from "./channel_name.ts";
import { type ChannelEvent, type GapReason, readChannelMessage } from "./channel_event.ts";
import { type ChannelPayload, publishOnChannel } from "./publish.ts";
import { ReplayBuffer, type ReplayLimits } from "./replay_buffer.ts";
import { type BacklogLimits, Subscription } from "./subscription.ts";

const log = getLogger(["coxswain", "pubsub"]);

/** Channels whose subscribers are remembered, so that most messages need no matching. */
const MAX_REMEMBERED = 10_000;
/** Up to so many subscribers are woken at once; more are woken together, a moment later. */
const FEW_SUBSCRIBERS = 32;
/** What many subscribers wait so that one write to each carries several messages. */
const GATHER_MS = 10;

/** Seen without: 1.4 GB resident after 480 MB of large messages to one subscriber. */
const COLLECT_EVERY_BYTES = 16 * 2 ** 20;

export interface ChannelsOptions {
  readonly broker: Broker;
  readonly replay: ReplayLimits;
  readonly backlog: BacklogLimits;
  readonly maxSubscribers: number;
  readonly clock?: Clock;
}

export class TooManySubscribersError extends Error {
  override readonly name = "TooManySubscribersError";
}

export type Published =
  | { readonly kind: "published"; readonly id: string }
  | { readonly kind: "broker_away" | "refused"; readonly message: string };

interface Subscriber {
  readonly subscription: Subscription;
  readonly matches: (channel: string) => boolean;
}

export class Channels implements Component {
  readonly #options: ChannelsOptions;
  readonly #clock: Clock;
  readonly #buffer: ReplayBuffer;
  readonly #subscribers = new Map<Subscription, Subscriber>();
  /** Subscriptions by channel, as long as nobody comes or goes. */
  #remembered = new Map<string, readonly Subscription[]>();
  #toWake = new Set<Subscription>();
  #isWaking = false;
  #isEnding = false;
  #seq = 0;
  #uncollectedBytes = 0;
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: ChannelsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#buffer = new ReplayBuffer(options.replay, this.#clock.now());
  }

  get status(): { readonly subscribers: number; readonly kept: number } {
    return { subscribers: this.#subscribers.size, kept: this.#buffer.size };
  }

  async start(): Promise<void> {
    const { broker } = this.#options;
    await broker.declareExchange(PUBSUB_EXCHANGE);
    this.#queue = await broker.openPrivateQueue({
      prefix: "cox.pubsub.",
      bindings: [{ exchange: PUBSUB_EXCHANGE.name, routingKey: "#" }],
    });
    this.#queue.watch((name) => {
      // While there was no queue, nobody kept what was published.
      if (name !== undefined) this.#gap("broker_away");
    });
    this.#loop = this.#listen(this.#queue);
  }

  /** Closes all subscriptions, those that come later too: the front stops. Idempotent. */
  endSubscriptions(): void {
    this.#isEnding = true;
    for (const subscription of [...this.#subscribers.keys()]) subscription.close();
  }

  /** Closes all subscriptions. Idempotent. */
  async stop(): Promise<void> {
    this.endSubscriptions();
    await this.#queue?.close();
    await this.#loop;
  }

  /** An id to subscribe after, for who has seen nothing yet: nothing that comes from now on is lost. */
  position(): string {
    return this.#buffer.position();
  }

  /** Publishes one message; never rejects for what a client is to be told. */
  async publish(channel: string, payload: ChannelPayload): Promise<Published> {
    try {
      return {
        kind: "published",
        id: await publishOnChannel(this.#options.broker, channel, payload),
      };
    } catch (error) {
      if (error instanceof BrokerAwayError) return { kind: "broker_away", message: error.message };
      if (error instanceof PublishRefusedError) return { kind: "refused", message: error.message };
      throw error;
    }
  }

  /**
   * Subscribes from now on, or from after a message that was seen before.
   * @param after id of that message: what is kept of what followed comes first, with a gap before it
   *   where something may be missing.
   * @throws TooManySubscribersError
   */
  subscribe(pattern: string, after?: string): Subscription {
    const { maxSubscribers, backlog } = this.#options;
    if (this.#subscribers.size >= maxSubscribers) {
      throw new TooManySubscribersError(`This front has ${maxSubscribers} subscribers already`);
    }
    const subscription = new Subscription(pattern, {
      limits: backlog,
      wake: (woken) => this.#wakeSoon(woken),
      closed: (closed) => {
        this.#subscribers.delete(closed);
        this.#remembered = new Map();
      },
    });
    const subscriber = { subscription, matches: channelMatcher(pattern) };
    if (after !== undefined) this.#replay(subscriber, after);
    this.#subscribers.set(subscription, subscriber);
    this.#remembered = new Map();
    if (this.#isEnding) subscription.close();
    return subscription;
  }

  #replay({ subscription, matches }: Subscriber, after: string): void {
    const now = this.#clock.now();
    const { kind, events } = this.#buffer.after(after, now);
    if (kind === "not_kept") {
      subscription.push({ kind: "gap", seq: this.#seq, reason: "not_kept", at: now });
    }
    for (const event of events) {
      if (event.kind === "gap" || matches(event.channel)) subscription.push(event);
    }
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message, unreadable } of queue) {
      if (unreadable !== undefined) {
        log.warn("Passed over a message on a channel: {reason}", {
          reason: unreadable,
          channel: message.routingKey,
        });
        continue;
      }
      const event = readChannelMessage(message, ++this.#seq, this.#clock.now());
      this.#buffer.add(event);
      for (const subscription of this.#subscribersOf(event.channel)) subscription.push(event);
      this.#collectInTime(event.body.length);
    }
  }

  /** Bodies lie outside the runtime's heap, which therefore sees no reason to collect them. */
  #collectInTime(bytes: number): void {
    this.#uncollectedBytes += bytes;
    if (this.#uncollectedBytes < COLLECT_EVERY_BYTES) return;
    this.#uncollectedBytes = 0;
    collectSoon();
  }

  #gap(reason: GapReason): void {
    const event: ChannelEvent = { kind: "gap", seq: ++this.#seq, reason, at: this.#clock.now() };
    this.#buffer.add(event);
    for (const subscription of this.#subscribers.keys()) subscription.push(event);
  }

  #subscribersOf(channel: string): readonly Subscription[] {
    const known = this.#remembered.get(channel);
    if (known !== undefined) return known;
    const found = [...this.#subscribers.values()]
      .filter(({ matches }) => matches(channel))
      .map(({ subscription }) => subscription);
    if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered = new Map();
    this.#remembered.set(channel, found);
    return found;
  }

  #wakeSoon(subscription: Subscription): void {
    this.#toWake.add(subscription);
    if (this.#isWaking) return;
    this.#isWaking = true;
    const wake = () => {
      this.#isWaking = false;
      const woken = this.#toWake;
      this.#toWake = new Set();
      for (const one of woken) one.resume();
    };
    if (this.#subscribers.size <= FEW_SUBSCRIBERS) queueMicrotask(wake);
    else this.#clock.after(GATHER_MS, wake);
  }
}
