/** An exclusive queue of one connection with its consumer, under one name for all its life. */
import type { BindingSpec, PrivateQueue } from "../broker.ts";
import { BrokerAwayError } from "../errors.ts";
import type { Delivery } from "../message.ts";
import type { EmbeddedConsumer } from "./consumer.ts";

/** What it asks of its broker. */
export interface PrivateQueueHost {
  bind(spec: BindingSpec): void;
  unbind(spec: BindingSpec): void;
  /** Deletes the queue. */
  remove(): void;
}

export class EmbeddedPrivateQueue implements PrivateQueue {
  readonly #consumer: EmbeddedConsumer;
  readonly #host: PrivateQueueHost;
  readonly #listeners = new Set<(name: string | undefined) => void>();
  #name: string | undefined;

  constructor(name: string, consumer: EmbeddedConsumer, host: PrivateQueueHost) {
    this.#name = name;
    this.#consumer = consumer;
    this.#host = host;
  }

  get name(): string | undefined {
    return this.#name;
  }

  watch(listener: (name: string | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  // Asynchronous, so that what the broker refuses rejects.
  async bind(binding: Omit<BindingSpec, "queue">): Promise<void> {
    const queue = this.#name;
    if (queue === undefined) throw new BrokerAwayError("Cannot bind a private queue: it is closed");
    await Promise.resolve(this.#host.bind({ ...binding, queue }));
  }

  unbind(binding: Omit<BindingSpec, "queue">): Promise<void> {
    if (this.#name !== undefined) this.#host.unbind({ ...binding, queue: this.#name });
    return Promise.resolve();
  }

  close(): Promise<void> {
    this.release();
    return Promise.resolve();
  }

  /** `close`, in one turn. */
  release(): void {
    if (this.#name === undefined) return;
    this.#name = undefined;
    this.#consumer.release();
    this.#host.remove();
    for (const listener of [...this.#listeners]) listener(undefined);
  }

  [Symbol.asyncIterator](): AsyncIterator<Delivery, undefined> {
    const deliveries = this.#consumer[Symbol.asyncIterator]();
    return {
      next: () => deliveries.next(),
      return: () => {
        this.release();
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }
}
