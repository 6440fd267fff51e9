/**
 * Pauses and resumes a worker's queues: as the broker's marks say (pause_marks.ts), looked at when the
 * worker starts, reconnects and hears that one has changed, and as Celery's own tools tell this worker,
 * until it hears otherwise or ends.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { BrokerAwayError } from "../broker/errors.ts";
import { isMarkedPaused } from "../broker/pause_marks.ts";
import type { QueueCommand } from "../celery/control/command.ts";

const log = getLogger(["coxswain", "worker"]);

/** What can be paused. */
export interface Pausable {
  readonly queue: string;
  setPaused(isPaused: boolean): Promise<void>;
}

export class QueueSteering {
  readonly #broker: Broker;
  readonly #queues: () => readonly Pausable[];
  /** Queues that a command which nobody remembers has paused (true) or resumed here. */
  readonly #told = new Map<string, boolean>();

  /** @param queues those of the worker now. */
  constructor(broker: Broker, queues: () => readonly Pausable[]) {
    this.#broker = broker;
    this.#queues = queues;
  }

  /** Does what a command says; a queue that this worker does not have is passed over. Never throws. */
  hear({ queue, isPaused, isRemembered }: QueueCommand): void {
    const named = this.#queues().filter((one) => one.queue === queue);
    if (isRemembered) this.#told.delete(queue);
    else if (named.length > 0) this.#told.set(queue, isPaused);
    for (const one of named) void this.#followQuietly(one);
  }

  /** Brings all queues to what is known. @throws BrokerAwayError */
  async follow(): Promise<void> {
    for (const one of this.#queues()) await this.#follow(one);
  }

  /** The same where the connection is just back; what fails is tried again after the next one. */
  followLater(): void {
    for (const one of this.#queues()) void this.#followQuietly(one);
  }

  async #follow(one: Pausable): Promise<void> {
    const told = this.#told.get(one.queue);
    await one.setPaused(told ?? await isMarkedPaused(this.#broker, one.queue));
  }

  async #followQuietly(one: Pausable): Promise<void> {
    try {
      await this.#follow(one);
    } catch (error) {
      const { queue } = one;
      if (error instanceof BrokerAwayError) {
        log.debug("Whether {queue} is paused is looked at when the broker is back", { queue });
      } else log.error("Queue {queue} could not be paused or resumed: {error}", { queue, error });
    }
  }
}
