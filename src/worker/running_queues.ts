/**
 * The queues of a running worker, which Celery's remote control adds and cancels: one that it has is
 * resumed or paused, another is consumed until it is cancelled or the worker ends.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { DeclarationError } from "../broker/errors.ts";
import type { AddedBinding } from "../celery/control/panel.ts";
import type { ConsumerStatus } from "./consuming_queue.ts";
import type { QueueConsumers } from "./queue_consumers.ts";
import type { QueueSteering } from "./queue_steering.ts";

const log = getLogger(["coxswain", "worker"]);

/** Each costs a consumer, and anybody may ask for one. */
const MAX_ADDED = 100;

export interface RunningQueuesOptions {
  readonly broker: Broker;
  readonly consumers: QueueConsumers;
  readonly steering: QueueSteering;
  /** Of tasks and of messages. */
  readonly status: () => readonly ConsumerStatus[];
}

export class RunningQueues {
  readonly #options: RunningQueuesOptions;
  readonly #added = new Set<string>();
  /** Changes go one after the other. */
  #changing: Promise<void> = Promise.resolve();

  constructor(options: RunningQueuesOptions) {
    this.#options = options;
  }

  /** Those that are not paused. */
  get consumed(): readonly string[] {
    return this.#options.status().filter(({ isPaused }) => !isPaused).map(({ queue }) => queue);
  }

  /** @throws DeclarationError, BrokerAwayError, RangeError: too many were added. */
  add(queue: string, binding: AddedBinding): Promise<void> {
    return this.#oneByOne(() => this.#add(queue, binding));
  }

  cancel(queue: string): Promise<void> {
    return this.#oneByOne(async () => {
      const { consumers, steering } = this.#options;
      if (!this.#added.delete(queue)) {
        return steering.hear({ queue, isPaused: true, isRemembered: false });
      }
      await consumers.remove(queue);
      log.info("Queue {queue} is no longer consumed", { queue });
    });
  }

  async #add(queue: string, binding: AddedBinding): Promise<void> {
    const { broker, consumers, steering } = this.#options;
    if (this.#options.status().some((known) => known.queue === queue)) {
      return steering.hear({ queue, isPaused: false, isRemembered: false });
    }
    if (this.#added.size >= MAX_ADDED) {
      throw new RangeError(`Cannot add queue "${queue}": ${MAX_ADDED} were added already`);
    }
    const { exchange = queue, exchangeType = "direct", routingKey = queue } = binding;
    // As Celery makes it, for a worker of Celery's that hears the same command declares it too, and
    // would end where it finds other arguments.
    if (await broker.inspectQueue(queue) === undefined) await broker.declareQueue({ name: queue });
    try {
      await broker.declareExchange({ name: exchange, type: exchangeType });
      await broker.bind({ exchange, queue, routingKey });
    } catch (error) {
      if (!(error instanceof DeclarationError) || binding.exchange !== undefined) throw error;
      // Nobody asked for it: requests come through the default exchange.
      log.debug("Queue {queue} is not bound to an exchange of its name: {reason}", {
        queue,
        reason: error.message,
      });
    }
    this.#added.add(queue);
    try {
      await consumers.add(queue);
    } catch (error) {
      this.#added.delete(queue);
      throw error;
    }
    log.info("Queue {queue} is consumed, as remote control says", { queue });
  }

  #oneByOne(change: () => Promise<void>): Promise<void> {
    const changed = this.#changing.then(change);
    // Whoever asked is told of a failure; the next change does not depend on it.
    this.#changing = changed.catch(() => undefined);
    return changed;
  }
}
