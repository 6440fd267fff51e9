/**
 * What running tasks ask of channels: to publish, and to subscribe. An isolate may be killed at any
 * moment, so a subscription lives as long as somebody asks it for what comes next.
 */
import { BrokerAwayError } from "../broker/errors.ts";
import type { Broker } from "../broker/broker.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import { newId } from "../platform/ids.ts";
import type { AskHandler } from "../tasks/asks.ts";
import { problemOfChannel, problemOfPattern } from "./channel_name.ts";
import { Channels } from "./channels.ts";
import { publishOnChannel } from "./publish.ts";
import type { Subscription } from "./subscription.ts";

/** How long a task's message waits for the broker to come back. */
const PATIENCE_MS = 5_000;
/** Nothing came for so long: the task is told so, and asks again. */
const WAIT_MS = 20_000;
/** Whoever does not ask for so long is gone. */
const IDLE_MS = 120_000;
const MAX_SUBSCRIPTIONS = 1_000;
/** For each pattern; what a slow task has not taken. */
const KEPT = { maxMessages: 10_000, maxBytes: 16 * 2 ** 20, maxAgeMs: 5 * 60_000 };

export interface ChannelAskHandlers {
  readonly "pubsub.publish": AskHandler<"pubsub.publish">;
  readonly "pubsub.subscribe": AskHandler<"pubsub.subscribe">;
  readonly "pubsub.next": AskHandler<"pubsub.next">;
  readonly "pubsub.keep": AskHandler<"pubsub.keep">;
  readonly "pubsub.unsubscribe": AskHandler<"pubsub.unsubscribe">;
}

/** The queue of one pattern, for all tasks of this node that follow it. */
interface Source {
  readonly channels: Channels;
  readonly started: Promise<void>;
  users: number;
}

interface Held {
  readonly subscription: Subscription;
  idle: Timer | undefined;
}

export class ChannelAsks implements Component {
  readonly #broker: Broker;
  readonly #clock: Clock;
  readonly #sources = new Map<string, Source>();
  readonly #held = new Map<string, Held>();
  readonly #closing = new Set<Promise<void>>();
  #isStopped = false;

  readonly asks: ChannelAskHandlers = {
    "pubsub.publish": async ({ channel }, json) => {
      const problem = problemOfChannel(channel);
      if (problem !== undefined) throw badName(channel, problem);
      const payload = { contentType: "application/json", body: new TextEncoder().encode(json) };
      await publishOnChannel(this.#broker, channel, payload, { patienceMs: PATIENCE_MS });
      return null;
    },
    "pubsub.subscribe": ({ pattern }) => this.#subscribe(pattern),
    "pubsub.next": ({ subscription }) => this.#next(subscription),
    "pubsub.keep": ({ subscription }) => {
      const held = this.#held.get(subscription);
      if (held !== undefined) this.#closeIfIdle(subscription, held);
      return Promise.resolve(null);
    },
    "pubsub.unsubscribe": ({ subscription }) => {
      this.#close(subscription);
      return Promise.resolve(null);
    },
  };

  constructor(broker: Broker, clock: Clock = systemClock) {
    this.#broker = broker;
    this.#clock = clock;
  }

  /** Subscriptions of tasks that run now, or ran a moment ago. */
  get size(): number {
    return this.#held.size;
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  /** Ends all subscriptions, and with them the loops of the tasks that have them. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    for (const id of [...this.#held.keys()]) this.#close(id);
    await Promise.all(this.#closing);
  }

  async #subscribe(pattern: string): Promise<{ readonly subscription: string }> {
    const problem = problemOfPattern(pattern);
    if (problem !== undefined) throw badName(pattern, problem);
    if (this.#held.size >= MAX_SUBSCRIPTIONS) {
      throw new Error(
        `Cannot subscribe to ${JSON.stringify(pattern)}: tasks of this node have ` +
          `${MAX_SUBSCRIPTIONS} subscriptions already`,
      );
    }
    if (this.#isStopped) throw new BrokerAwayError("Cannot subscribe: this node stops");
    const id = newId();
    const source = this.#use(pattern);
    const held: Held = { subscription: source.channels.subscribe(pattern), idle: undefined };
    this.#held.set(id, held);
    try {
      await source.started;
    } catch (error) {
      this.#close(id);
      throw error;
    }
    this.#closeIfIdle(id, held);
    return { subscription: id };
  }

  async #next(id: string) {
    const held = this.#held.get(id);
    if (held === undefined) {
      if (this.#isStopped) return { events: [], isOver: true };
      const lost = new Error(`The subscription was ended: nobody asked for ${IDLE_MS} ms`);
      lost.name = "SubscriptionLost";
      throw lost;
    }
    const { subscription } = held;
    held.idle?.cancel();
    const late = Promise.withResolvers<void>();
    const timer = this.#clock.after(WAIT_MS, () => late.resolve());
    await Promise.race([subscription.ready(), late.promise]);
    timer.cancel();
    const events = subscription.take();
    this.#closeIfIdle(id, held);
    return {
      events: events.map(({ json }) => JSON.parse(json)),
      isOver: subscription.isClosed && events.length === 0,
    };
  }

  #closeIfIdle(id: string, held: Held): void {
    held.idle?.cancel();
    held.idle = this.#clock.after(IDLE_MS, () => this.#close(id));
  }

  #use(pattern: string): Source {
    let source = this.#sources.get(pattern);
    if (source === undefined) {
      const channels = new Channels({
        broker: this.#broker,
        pattern,
        replay: KEPT,
        maxBacklog: KEPT.maxMessages,
        maxSubscribers: MAX_SUBSCRIPTIONS,
        clock: this.#clock,
      });
      source = { channels, started: channels.start(), users: 0 };
      this.#sources.set(pattern, source);
    }
    source.users += 1;
    return source;
  }

  #close(id: string): void {
    const held = this.#held.get(id);
    if (held === undefined) return;
    this.#held.delete(id);
    held.idle?.cancel();
    held.subscription.close();
    const { pattern } = held.subscription;
    const source = this.#sources.get(pattern);
    if (source === undefined) return;
    source.users -= 1;
    if (source.users > 0) return;
    this.#sources.delete(pattern);
    // One that did not start has told so to whoever asked.
    const closing = source.started.then(() => source.channels.stop(), () => undefined)
      .finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }
}

function badName(name: unknown, problem: string): Error {
  const error = new Error(`Channel ${JSON.stringify(name)} ${problem}`);
  error.name = "BadName";
  return error;
}
