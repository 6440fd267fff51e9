/**
 * An exclusive queue with its consumer, made anew with a fresh name on each connection: the old name
 * stays locked while the broker still believes in the old connection.
 */
import { getLogger } from "@logtape/logtape";
import type { Clock } from "../../lifecycle/clock.ts";
import type { BindingSpec, PrivateQueue, PrivateQueueOptions } from "../broker.ts";
import type { Delivery } from "../message.ts";
import type { Connection } from "./connection.ts";
import { ConsumingChannel } from "./consuming_channel.ts";
import { DeliveryQueue } from "./delivery_queue.ts";
import { reasonOf } from "./failure.ts";
import type { Link } from "./link.ts";
import { Listeners } from "./listeners.ts";
import { QueueBindings } from "./queue_bindings.ts";
import { Restorer } from "./restorer.ts";

const log = getLogger(["coxswain", "broker"]);

export interface AmqpPrivateQueueOptions {
  readonly asked: PrivateQueueOptions;
  readonly link: Link;
  readonly clock: Clock;
  /** Binds with nobody else's bindings on the way: a refusal is its own. @throws DeclarationError */
  readonly bindAlone: (spec: BindingSpec) => Promise<void>;
  readonly ended: (queue: AmqpPrivateQueue) => void;
}

export class AmqpPrivateQueue implements PrivateQueue {
  readonly #options: AmqpPrivateQueueOptions;
  readonly #deliveries = new DeliveryQueue();
  readonly #listeners = new Listeners<string | undefined>();
  readonly #restorer: Restorer;
  readonly #bindings: QueueBindings;
  #channel: ConsumingChannel | undefined;
  #name: string | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: AmqpPrivateQueueOptions) {
    this.#options = options;
    this.#bindings = new QueueBindings(options.asked.bindings ?? [], options.bindAlone);
    this.#restorer = new Restorer({
      link: options.link,
      clock: options.clock,
      restore: (connection) => this.start(connection),
      tried: (failure) => {
        if (failure === undefined) return;
        const { prefix } = options.asked;
        log.warn("Cannot open private queue {prefix} again, trying on: {reason}", {
          prefix,
          reason: reasonOf(failure),
        });
      },
    });
  }

  get name(): string | undefined {
    return this.#name;
  }

  /** Makes the queue. @throws what the broker said. */
  async start(connection: Connection): Promise<void> {
    const { prefix, prefetch } = this.#options.asked;
    const name = `${prefix}${crypto.randomUUID()}`;
    const channel = await ConsumingChannel.open(connection, {
      queue: name,
      prefetch: prefetch ?? 1,
      noAck: prefetch === undefined,
      deliver: (delivery) => this.#deliveries.push(delivery),
      settled: () => undefined,
      lost: () => this.#lost(),
    }, async (channel) => {
      await channel.queueDeclare(name, { exclusive: true, durable: false, autoDelete: false });
    });
    try {
      await this.#bindings.apply(connection, name);
    } catch (error) {
      await channel.deleteQueue();
      await channel.close();
      throw error;
    }
    if (this.#closing !== undefined) return channel.close();
    this.#channel = channel;
    this.#rename(name);
  }

  /** Binds it again whenever it is made anew. */
  addBinding(binding: Omit<BindingSpec, "queue">): void {
    this.#bindings.add(binding);
  }

  removeBinding(binding: Omit<BindingSpec, "queue">): void {
    this.#bindings.remove(binding);
  }

  bind(binding: Omit<BindingSpec, "queue">): Promise<void> {
    return this.#bindings.bind(binding);
  }

  unbind(binding: Omit<BindingSpec, "queue">): Promise<void> {
    return this.#bindings.unbind(binding);
  }

  watch(listener: (name: string | undefined) => void): () => void {
    return this.#listeners.add(listener);
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  [Symbol.asyncIterator](): AsyncIterator<Delivery, undefined> {
    const deliveries = this.#deliveries;
    return {
      next: () => deliveries.next(),
      return: async () => {
        await this.close();
        return { done: true, value: undefined };
      },
    };
  }

  #lost(): void {
    if (this.#closing !== undefined) return;
    // With acks, what was not settled went with the queue; without, what came is ours.
    if (this.#options.asked.prefetch !== undefined) this.#deliveries.takeUnseen();
    this.#bindings.lost();
    this.#rename(undefined);
    // Its queue may have been deleted under an open channel.
    void this.#channel?.close();
    this.#restorer.lost();
  }

  async #close(): Promise<void> {
    this.#restorer.stop();
    this.#deliveries.takeUnseen();
    this.#deliveries.end();
    this.#bindings.close();
    this.#options.ended(this);
    const hadName = this.#name !== undefined;
    this.#name = undefined;
    await this.#channel?.deleteQueue();
    await this.#channel?.close();
    if (hadName) this.#listeners.tell(undefined);
  }

  #rename(name: string | undefined): void {
    if (this.#name === name) return;
    this.#name = name;
    this.#listeners.tell(name);
  }
}
