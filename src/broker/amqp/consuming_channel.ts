/**
 * One channel that consumes one queue: its subscriptions, the deliveries that came by it, and their
 * settlement. It lives at most as long as its connection; coming back is restorer.ts's work.
 */
import { type AMQPChannel, AMQPConsumer, type AMQPMessage } from "@cloudamqp/amqp-client";
import type { Connection } from "./connection.ts";
import { AmqpDelivery, type Settler } from "./delivery.ts";
import { writeAck, writeNack } from "./frames.ts";
import type { Outbox } from "./outbox.ts";

export interface ConsumingOptions {
  readonly queue: string;
  readonly prefetch: number;
  readonly noAck: boolean;
  readonly exclusive?: boolean;
  readonly deliver: (delivery: AmqpDelivery) => void;
  /** Something was settled. */
  readonly settled: () => void;
  /** The broker ended a subscription or the channel, or the connection is lost. */
  readonly lost: (error: Error) => void;
}

export class ConsumingChannel {
  readonly #connection: Connection;
  readonly #channel: AMQPChannel;
  readonly #options: ConsumingOptions;
  /** Those that the broker serves, by tag. */
  readonly #subscriptions = new Map<string, Subscription>();
  /** Those that it may still serve until it answers that it does not. */
  readonly #ending = new Map<string, Subscription>();
  #tags = 0;
  #unsettled = 0;

  private constructor(connection: Connection, channel: AMQPChannel, options: ConsumingOptions) {
    this.#connection = connection;
    this.#channel = channel;
    this.#options = options;
    // Without the client's way over a microtask.
    channel.deliver = (message) => this.#deliver(message);
  }

  /**
   * Opens a channel and subscribes.
   * @param prepare what to do on the channel first.
   * @throws what the broker said, 404 where there is no such queue.
   */
  static async open(
    connection: Connection,
    options: ConsumingOptions,
    prepare: (channel: AMQPChannel) => Promise<void> = () => Promise.resolve(),
  ): Promise<ConsumingChannel> {
    let isSubscribed = false;
    const channel = await connection.openChannel((error) => {
      if (isSubscribed) options.lost(error);
    });
    const consuming = new ConsumingChannel(connection, channel, options);
    try {
      await connection.orLost(prepare(channel));
      await consuming.subscribe(options.prefetch);
    } catch (error) {
      await consuming.close();
      throw error;
    }
    isSubscribed = true;
    return consuming;
  }

  get isOpen(): boolean {
    return !this.#channel.closed && !this.#connection.isLost;
  }

  /** What each of its subscriptions may hold. */
  get grants(): readonly number[] {
    return Array.from(this.#subscriptions.values(), ({ size }) => size);
  }

  /** Deliveries that the broker waits for, seen by the loop or not. */
  get unsettled(): number {
    return this.#unsettled;
  }

  /** Those of them whose subscription has ended. */
  get carried(): number {
    let current = 0;
    for (const { unsettled } of this.#subscriptions.values()) current += unsettled;
    return this.#unsettled - current;
  }

  /** One subscription more, which may hold so many deliveries. @throws as `open`. */
  async subscribe(size: number): Promise<void> {
    const { queue, noAck, exclusive = false, settled, lost } = this.#options;
    const connection = this.#connection;
    const channel = this.#channel;
    if (!noAck) await connection.orLost(channel.basicQos(size));
    const tag = `c${++this.#tags}`;
    const subscription: Subscription = new Subscription(channel, tag, size, {
      outbox: connection.outbox,
      settle: () => this.#settle(subscription),
      settled,
      lost: (error) => {
        if (this.#subscriptions.delete(tag)) lost(error);
      },
    });
    this.#subscriptions.set(tag, subscription);
    // Known to the client before the broker answers, for a cancel may come right behind the answer.
    channel.consumers.set(tag, subscription);
    await connection.orLost(channel.basicConsume(queue, { tag, noAck, exclusive }, ignore));
    if (subscription.isClosed) throw new Error("the broker ended the consumer at once");
    channel.consumers.set(tag, subscription);
  }

  /** Takes nothing more; what comes until the broker has answered is still delivered. */
  async unsubscribe(): Promise<void> {
    const ending = [...this.#subscriptions];
    this.#subscriptions.clear();
    await Promise.all(ending.map(async ([tag, subscription]) => {
      if (!this.isOpen) return;
      this.#ending.set(tag, subscription);
      await this.#connection.orLost(this.#channel.basicCancel(tag)).catch(ignore);
      this.#ending.delete(tag);
    }));
  }

  /** Deletes the queue with all that is in it. Never rejects. */
  async deleteQueue(): Promise<void> {
    this.#subscriptions.clear();
    if (!this.isOpen) return;
    await this.#connection.orLost(this.#channel.queueDelete(this.#options.queue)).catch(ignore);
  }

  /** The broker gets back all that is unsettled. Never rejects. */
  async close(): Promise<void> {
    this.#subscriptions.clear();
    if (!this.isOpen) return;
    await this.#connection.orLost(this.#channel.close()).catch(ignore);
  }

  #deliver(message: AMQPMessage): void {
    const { queue, noAck, deliver } = this.#options;
    const tag = message.consumerTag;
    const subscription = this.#subscriptions.get(tag) ?? this.#ending.get(tag);
    // The channel is on its way to be closed, which gives it back.
    if (subscription === undefined) return;
    if (!noAck) {
      subscription.unsettled++;
      this.#unsettled++;
    }
    deliver(new AmqpDelivery(message, queue, subscription));
  }

  #settle(subscription: Subscription): boolean {
    if (this.#options.noAck || !this.isOpen) return false;
    subscription.unsettled--;
    this.#unsettled--;
    return true;
  }
}

interface SubscriptionOptions {
  readonly outbox: Outbox;
  /** Counts a settlement; returns whether there is still somebody to tell. */
  readonly settle: () => boolean;
  /** Called when the broker was told. */
  readonly settled: () => void;
  readonly lost: (error: Error) => void;
}

/** The client's entry for a consumer, which also tells its end and settles what came by it. */
class Subscription extends AMQPConsumer implements Settler {
  readonly size: number;
  readonly #options: SubscriptionOptions;
  /** Written by the channel. */
  unsettled = 0;

  constructor(channel: AMQPChannel, tag: string, size: number, options: SubscriptionOptions) {
    super(channel, tag, ignore);
    this.size = size;
    this.#options = options;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  override setClosed(error?: Error): void {
    super.setClosed(error);
    // The channel's end is told by the channel.
    if (error !== undefined && !this.channel.closed) this.#options.lost(error);
  }

  ack(deliveryTag: number): void {
    const { outbox, settle, settled } = this.#options;
    if (!settle()) return;
    writeAck(outbox, this.channel.id, deliveryTag);
    settled();
  }

  nack(deliveryTag: number, requeue: boolean): void {
    const { outbox, settle, settled } = this.#options;
    if (!settle()) return;
    writeNack(outbox, this.channel.id, deliveryTag, requeue);
    settled();
  }
}

/** Deliveries take a shorter way; a channel that is gone needs no closing. */
function ignore(): void {}
