/** An exclusive queue of one connection with its consumer, under one name for all its life. */
import type { PrivateQueue } from "../broker.ts";
import type { Delivery } from "../message.ts";
import type { EmbeddedConsumer } from "./consumer.ts";

export class EmbeddedPrivateQueue implements PrivateQueue {
  readonly #consumer: EmbeddedConsumer;
  /** Deletes the queue. */
  readonly #remove: () => void;
  readonly #listeners = new Set<(name: string | undefined) => void>();
  #name: string | undefined;

  constructor(name: string, consumer: EmbeddedConsumer, remove: () => void) {
    this.#name = name;
    this.#consumer = consumer;
    this.#remove = remove;
  }

  get name(): string | undefined {
    return this.#name;
  }

  watch(listener: (name: string | undefined) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
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
    this.#remove();
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
