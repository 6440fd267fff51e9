/**
 * The worker's consumers of messages: their queues and bindings, and their deliveries' way to the
 * runner. How a message is handled is message_runner.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { BindingSpec, Broker, ExchangeType, QueueSpec } from "../broker/broker.ts";
import { DeclarationError } from "../broker/errors.ts";
import { DEAD_LETTERS_QUEUE } from "../broker/topology.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { ConsumerDescriptor } from "../tasks/consumer.ts";
import type { AttemptRunner } from "./executor.ts";
import { ConsumingQueue } from "./consuming_queue.ts";
import type { ConsumerStatus } from "./consuming_queue.ts";
import { MAX_PAUSING, MessageRunner } from "./message_runner.ts";

const log = getLogger(["coxswain", "worker"]);

/** More deliveries than the prefetch, for those that pause; few steps, for each makes a consumer anew. */
const PAUSING_STEPS = [0, 8, 64, MAX_PAUSING] as const;

export interface MessageConsumersOptions {
  readonly broker: Broker;
  readonly runner: AttemptRunner;
  readonly consumers: readonly ConsumerDescriptor[];
  /** Exchanges of the configuration: name → type. */
  readonly exchanges: ReadonlyMap<string, ExchangeType>;
  readonly queueType: "classic" | "quorum";
  readonly slots: number;
  readonly node: string;
  readonly clock?: Clock;
}

export class MessageConsumers {
  readonly #options: MessageConsumersOptions;
  readonly #runner: MessageRunner;
  readonly #sources: ReadonlyMap<string, ConsumingQueue>;

  constructor(options: MessageConsumersOptions) {
    const { broker, runner, consumers, slots, node, clock = systemClock } = options;
    this.#options = options;
    this.#runner = new MessageRunner({
      broker,
      runner,
      consumers,
      slots,
      node,
      clock,
      onPausing: (queue, pausing) => this.#makeRoom(queue, pausing),
      onSettled: (queue) => this.#sources.get(queue)?.countSettled(),
    });
    this.#sources = new Map(consumers.map(({ queue, prefetch }) => [
      queue,
      new ConsumingQueue({
        broker,
        queue,
        prefetch,
        accept: (delivery) => this.#runner.accept(delivery),
        clock,
      }),
    ]));
  }

  get sources(): readonly ConsumingQueue[] {
    return [...this.#sources.values()];
  }

  get running(): number {
    return this.#runner.running;
  }

  get waiting(): number {
    return this.#runner.waiting;
  }

  /** From now on so many messages may be handled at once. */
  resize(slots: number): void {
    this.#runner.resize(slots);
  }

  get status(): readonly ConsumerStatus[] {
    return this.#options.consumers.flatMap((consumer) => {
      const source = this.#sources.get(consumer.queue);
      return source === undefined ? [] : [{ ...source.status, ...boundTo(consumer) }];
    });
  }

  /**
   * Declares queues, exchanges and bindings.
   * @throws DeclarationError naming the consumer's file and what to change.
   */
  async declare(): Promise<void> {
    for (const consumer of this.#options.consumers) await this.#declareOne(consumer);
  }

  async start(): Promise<void> {
    for (const source of this.sources) await source.start();
  }

  /** Takes nothing more and gives back what has not started. Idempotent. */
  async cancel(): Promise<void> {
    await Promise.all(this.sources.map((source) => source.cancel()));
    this.#runner.stopAccepting();
  }

  /** Resolves when nothing runs and every settlement has been handed to the broker. */
  idle(): Promise<void> {
    return this.#runner.idle();
  }

  abortRunning(): void {
    this.#runner.abortRunning();
  }

  /** Gives back all that is unsettled. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(this.sources.map((source) => source.close()));
  }

  async #declareOne(consumer: ConsumerDescriptor): Promise<void> {
    const { broker, queueType } = this.#options;
    const { queue, exchange, type, file } = consumer;
    const action = `Cannot consume queue "${queue}" (${file})`;
    try {
      if (exchange !== undefined && type !== undefined) {
        await broker.declareExchange({ name: exchange, type });
      }
      const { mismatch } = await broker.declareQueue(consumerQueue(queue, queueType));
      if (mismatch !== undefined) {
        log.warn("Queue {queue} is used as it is: {mismatch}", { queue, mismatch });
      }
    } catch (error) {
      if (!(error instanceof DeclarationError)) throw error;
      throw new DeclarationError(`${action}: ${error.message}`, { cause: error });
    }
    try {
      for (const binding of this.#bindings(consumer, action)) await broker.bind(binding);
    } catch (error) {
      if (!(error instanceof DeclarationError) || error.message.startsWith(action)) throw error;
      throw new DeclarationError(
        `${action}: is there no exchange "${exchange}"? Give consume() its type, or name it under ` +
          `"exchanges" in coxswain.json. (${error.message})`,
        { cause: error },
      );
    }
  }

  #bindings(
    { queue, exchange, type, keys, arguments: match }: ConsumerDescriptor,
    action: string,
  ): readonly BindingSpec[] {
    if (exchange === undefined) return [];
    const actual = type ?? this.#options.exchanges.get(exchange);
    if (actual === "direct" && keys.length === 0) {
      throw new DeclarationError(
        `${action}: exchange "${exchange}" is a direct one, which has no key that means all: ` +
          "give consume() its keys",
      );
    }
    return keysOf(keys).map((routingKey) => ({
      exchange,
      queue,
      routingKey,
      ...(match === undefined ? {} : { arguments: match }),
    }));
  }

  /** What pauses before its next attempt must not keep the others away. */
  #makeRoom(queue: string, pausing: number): void {
    const prefetch = this.#options.consumers.find((one) => one.queue === queue)?.prefetch ?? 1;
    const room = PAUSING_STEPS.find((step) => step >= pausing) ?? MAX_PAUSING;
    this.#sources.get(queue)?.setPrefetch(prefetch + room);
  }
}

/** The exchange and the keys that a consumer's queue is bound by, where it is bound. */
export function boundTo(
  { exchange, keys }: ConsumerDescriptor,
): { readonly exchange?: string; readonly keys?: string[] } {
  return exchange === undefined ? {} : { exchange, keys: keysOf(keys) };
}

/** Without keys of its own it wants everything, which "#" means to a topic exchange. */
function keysOf(keys: readonly string[]): string[] {
  return keys.length > 0 ? [...keys] : ["#"];
}

/** What the broker itself gives up (expired, rejected by a stranger) is kept with the dead letters. */
function consumerQueue(name: string, type: "classic" | "quorum"): QueueSpec {
  return {
    name,
    type,
    deadLetterExchange: "",
    deadLetterRoutingKey: DEAD_LETTERS_QUEUE.name,
  };
}
