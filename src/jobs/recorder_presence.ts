/** Whether a recorder reads job events now: who has a delay to keep asks before it hands it over. */
import type { Broker } from "../broker/broker.ts";
import { RECORDER_QUEUE } from "../broker/topology.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";

/** An answer of the broker counts for so long: recorders come and go in seconds, jobs end in less. */
const FRESH_MS = 1_000;

export interface RecorderPresenceOptions {
  readonly broker: Pick<Broker, "inspectQueue">;
  readonly clock?: Clock;
}

export class RecorderPresence {
  readonly #broker: Pick<Broker, "inspectQueue">;
  readonly #clock: Clock;
  #asked: Promise<boolean> | undefined;
  #askedAt = -Infinity;

  constructor({ broker, clock = systemClock }: RecorderPresenceOptions) {
    this.#broker = broker;
    this.#clock = clock;
  }

  /**
   * Whether the queue `cox.recorder` has a consumer, as of a second ago at most.
   * @throws BrokerAwayError when the broker cannot be asked.
   */
  isThere(): Promise<boolean> {
    const now = this.#clock.monotonic();
    if (this.#asked !== undefined && now - this.#askedAt < FRESH_MS) return this.#asked;
    this.#askedAt = now;
    const asked = this.#broker.inspectQueue(RECORDER_QUEUE.name)
      .then((status) => (status?.consumers ?? 0) > 0);
    this.#asked = asked;
    // What failed is asked anew.
    asked.catch(() => {
      if (this.#asked === asked) this.#asked = undefined;
    });
    return asked;
  }
}
