/** Looks every few seconds whether job events are read: where nobody does, it should show in health. */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { BrokerAwayError } from "../broker/errors.ts";
import { RECORDER_QUEUE } from "../broker/topology.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";

const log = getLogger(["coxswain", "jobs"]);

const LOOK_EVERY_MS = 5_000;

/** As of a few seconds ago. */
export interface RecorderQueueStatus {
  /** Recorders that read job events. */
  readonly readers: number;
  /** Messages with events that wait to be read. */
  readonly waiting: number;
}

export class RecorderWatch implements Component {
  readonly #broker: Broker;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #isStopped = false;
  #looking: Promise<void> = Promise.resolve();
  #status: RecorderQueueStatus | undefined;

  constructor(broker: Broker, clock: Clock = systemClock) {
    this.#broker = broker;
    this.#clock = clock;
  }

  /** Undefined while it is not known: the broker is away. */
  get status(): RecorderQueueStatus | undefined {
    return this.#status;
  }

  async start(): Promise<void> {
    await this.#look();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#looking;
  }

  async #look(): Promise<void> {
    try {
      const queue = await this.#broker.inspectQueue(RECORDER_QUEUE.name);
      this.#tell(queue && { readers: queue.consumers, waiting: queue.messages });
    } catch (error) {
      this.#status = undefined;
      if (!(error instanceof BrokerAwayError)) {
        log.error("It cannot be seen whether job events are read: {error}", { error });
      }
    }
    if (this.#isStopped) return;
    this.#timer = this.#clock.after(LOOK_EVERY_MS, () => {
      this.#looking = this.#look();
    });
  }

  #tell(status: RecorderQueueStatus | undefined): void {
    const isUnread = status !== undefined && status.readers === 0 && status.waiting > 0;
    const wasUnread = this.#status?.readers === 0 && this.#status.waiting > 0;
    this.#status = status;
    if (isUnread && !wasUnread) {
      log.warn("No recorder reads {queue}: {waiting} messages with job events wait", {
        queue: RECORDER_QUEUE.name,
        waiting: status.waiting,
      });
    }
  }
}
