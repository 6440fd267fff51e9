/**
 * A node's channels: one private queue that hears everything, the log behind it, and the subscribers
 * before it. How they are written to is src/http.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../broker/errors.ts";
import type { Message } from "../broker/message.ts";
import { PUBSUB_EXCHANGE } from "../broker/topology.ts";
import { TopicTrie } from "../broker/topic_trie.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import { collectSoon } from "../platform/garbage.ts";
import { readMessage } from "./channel_event.ts";
import { PatternGroup } from "./pattern_group.ts";
import { type ChannelPayload, publishOnChannel } from "./publish.ts";
import { type ReplayLimits, ReplayLog } from "./replay_log.ts";
import { Subscription } from "./subscription.ts";

const log = getLogger(["coxswain", "pubsub"]);

/** Up to so many subscribers are woken at once; more are woken together, a moment later. */
const FEW_SUBSCRIBERS = 32;
/** What many subscribers wait so that one write to each carries several messages. */
const GATHER_MS = 10;
/** So many are woken in one turn, some milliseconds of writing. */
const WAKE_AT_ONCE = 250;
/** What woken subscribers have had time to take may be forgotten. */
const TIDY_MS = 50;
/** Seen without: 1.4 GB resident after 480 MB of large messages to one subscriber. */
const COLLECT_EVERY_BYTES = 16 * 2 ** 20;

export interface ChannelsOptions {
  readonly broker: Broker;
  readonly replay: ReplayLimits;
  /** Most messages that a subscriber may lag behind, as far as the replay limits keep them. */
  readonly maxBacklog: number;
  readonly maxSubscribers: number;
  /** What is heard at all. Default `#`: everything. */
  readonly pattern?: string;
  readonly clock?: Clock;
}

export class TooManySubscribersError extends Error {
  override readonly name = "TooManySubscribersError";
}

export type Published =
  | { readonly kind: "published"; readonly id: string }
  | { readonly kind: "broker_away" | "refused"; readonly message: string };

export class Channels implements Component {
  readonly #options: ChannelsOptions;
  readonly #clock: Clock;
  readonly #log: ReplayLog;
  readonly #groups = new Map<string, PatternGroup>();
  readonly #routes = new TopicTrie<PatternGroup>();
  /** Those with subscribers that wait for what has come. */
  #toWake = new Set<PatternGroup>();
  #isWaking = false;
  /** Those in which something matched lately. */
  #toTidy = new Set<PatternGroup>();
  #isTidying = false;
  #isEnding = false;
  #subscribers = 0;
  #uncollectedBytes = 0;
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: ChannelsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = new ReplayLog(options.replay, this.#clock);
  }

  get status(): { readonly subscribers: number; readonly kept: number } {
    return { subscribers: this.#subscribers, kept: this.#log.size };
  }

  async start(): Promise<void> {
    const { broker, pattern = "#" } = this.#options;
    await broker.declareExchange(PUBSUB_EXCHANGE);
    this.#queue = await broker.openPrivateQueue({
      prefix: "cox.pubsub.",
      bindings: [{ exchange: PUBSUB_EXCHANGE.name, routingKey: pattern }],
    });
    this.#queue.watch((name) => {
      // While there was no queue, nobody kept what was published.
      if (name !== undefined) this.#tellGap();
    });
    this.#loop = this.#listen(this.#queue);
  }

  /** Closes all subscriptions, those that come later too: the node stops. Idempotent. */
  endSubscriptions(): void {
    this.#isEnding = true;
    for (const { subscriptions } of [...this.#groups.values()]) {
      for (const subscription of [...subscriptions]) subscription.close();
    }
  }

  /** Closes all subscriptions. Idempotent. */
  async stop(): Promise<void> {
    this.endSubscriptions();
    await this.#queue?.close();
    await this.#loop;
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
   * @param after id of that message, or a subscription's position: what is kept of what followed comes
   *   first, with a gap before it where something may be missing.
   * @throws TooManySubscribersError
   */
  subscribe(pattern: string, after?: string): Subscription {
    const { maxSubscribers, maxBacklog } = this.#options;
    if (this.#subscribers >= maxSubscribers) {
      throw new TooManySubscribersError(`This node has ${maxSubscribers} subscribers already`);
    }
    const group = this.#group(pattern);
    const subscription = new Subscription(
      {
        log: this.#log,
        group,
        maxBacklog,
        now: () => this.#clock.now(),
        closed: (closed) => this.#left(group, closed),
      },
      after === undefined ? undefined : this.#log.resume(after, group.matches),
      after,
    );
    group.subscriptions.add(subscription);
    this.#subscribers += 1;
    if (this.#isEnding) subscription.close();
    return subscription;
  }

  #group(pattern: string): PatternGroup {
    const known = this.#groups.get(pattern);
    if (known !== undefined) return known;
    const group = new PatternGroup(pattern, this.#log);
    this.#groups.set(pattern, group);
    this.#routes.add(pattern, group);
    return group;
  }

  #left(group: PatternGroup, subscription: Subscription): void {
    group.subscriptions.delete(subscription);
    this.#subscribers -= 1;
    if (group.subscriptions.size > 0) return;
    this.#groups.delete(group.pattern);
    this.#routes.remove(group.pattern, group);
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message, unreadable } of queue) {
      if (unreadable === undefined) this.#heard(message);
      else {
        log.warn("Passed over a message on a channel: {reason}", {
          reason: unreadable,
          channel: message.routingKey,
        });
      }
    }
  }

  #heard(message: Message): void {
    const seq = this.#log.append(
      readMessage(message, this.#clock.now(), () => this.#log.newId()),
    );
    for (const group of this.#routes.match(message.routingKey)) this.#add(group, seq);
    this.#tidyLater();
    this.#collectInTime(message.body.length);
  }

  #tellGap(): void {
    const seq = this.#log.appendGap();
    for (const group of this.#groups.values()) this.#add(group, seq);
    this.#tidyLater();
  }

  #add(group: PatternGroup, seq: number): void {
    group.add(seq);
    this.#toTidy.add(group);
    if (group.waiting.size === 0) return;
    this.#toWake.add(group);
    if (this.#isWaking) return;
    this.#isWaking = true;
    if (this.#subscribers <= FEW_SUBSCRIBERS) queueMicrotask(() => this.#wake());
    else this.#clock.after(GATHER_MS, () => this.#wake());
  }

  #wake(): void {
    const groups = this.#toWake;
    this.#toWake = new Set();
    this.#isWaking = false;
    this.#wakeSome([...groups].flatMap(({ waiting }) => [...waiting]));
  }

  /** Others have their turn in between. */
  #wakeSome(subscriptions: readonly Subscription[]): void {
    for (const subscription of subscriptions.slice(0, WAKE_AT_ONCE)) subscription.wake();
    if (subscriptions.length <= WAKE_AT_ONCE) return;
    this.#clock.after(0, () => this.#wakeSome(subscriptions.slice(WAKE_AT_ONCE)));
  }

  /** Not at once: those who read have a moment to take what comes, however little is kept. */
  #tidyLater(): void {
    if (this.#isTidying) return;
    this.#isTidying = true;
    this.#clock.after(TIDY_MS, () => {
      this.#isTidying = false;
      const groups = this.#toTidy;
      this.#toTidy = new Set();
      for (const group of groups) group.tidy();
      this.#log.forget();
    });
  }

  /** Bodies lie outside the runtime's heap, which therefore sees no reason to collect them. */
  #collectInTime(bytes: number): void {
    this.#uncollectedBytes += bytes;
    if (this.#uncollectedBytes < COLLECT_EVERY_BYTES) return;
    this.#uncollectedBytes = 0;
    collectSoon();
  }
}
