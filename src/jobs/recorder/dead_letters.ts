/**
 * Drains `cox.dead-letters` into the store, where dead letters can be listed, shown, tried again and
 * purged. Nothing is acked before it is recorded.
 *
 * A worker publishes the letter before it tells how the job ended, and the end is the better word: a
 * letter of a job that has not ended is kept back for some seconds.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Broker } from "../../broker/broker.ts";
import type { Delivery } from "../../broker/message.ts";
import { DEAD_LETTERS_QUEUE, LARGE_DEAD_LETTERS_QUEUE } from "../../broker/topology.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { newId } from "../../platform/ids.ts";
import type { Store } from "../../store/store.ts";
import { isFinal, type Job } from "../job.ts";
import type { JobEvent } from "../job_event.ts";
import { MAX_STORED_BYTES, type ReadLetter, readLetter } from "./dead_letter_event.ts";
import { HeldDeliveries } from "./held_deliveries.ts";
import type { PatientLoop } from "./patient_loop.ts";

const log = getLogger(["coxswain", "recorder"]);

/** They may be large, and they are rare. */
const PREFETCH = 20;
/** How long the job's end may take to be recorded. */
const END_PATIENCE_MS = 5_000;
const LOOK_AGAIN_MS = 100;

export interface DeadLettersOptions {
  readonly broker: Broker;
  readonly store: Store;
  readonly clock: Clock;
  /** Told of each job that has a dead letter now. */
  readonly recorded: (jobs: readonly Job[], events: readonly JobEvent[]) => void;
}

interface Held {
  readonly delivery: Delivery;
  readonly letter: ReadLetter;
  /** Monotonic instant until which its job's end is waited for. */
  readonly waitUntil: number;
}

export class DeadLetters implements PatientLoop {
  readonly name = "Recording dead letters";
  readonly alarm: Alarm;
  readonly #options: DeadLettersOptions;
  readonly #deliveries: HeldDeliveries;
  #held: Held[] = [];

  constructor(options: DeadLettersOptions) {
    this.#options = options;
    this.alarm = new Alarm(options.clock);
    this.#deliveries = new HeldDeliveries({
      broker: options.broker,
      queue: DEAD_LETTERS_QUEUE.name,
      prefetch: PREFETCH,
      loop: this,
      hold: (delivery) => this.#read(delivery),
      dropped: () => this.#held = [],
    });
  }

  /** Begins, or goes on after a pause. */
  resume(): Promise<void> {
    return this.#deliveries.resume();
  }

  /** Gives back what is held and takes nothing more. */
  pause(): Promise<void> {
    return this.#deliveries.pause();
  }

  /** Gives back what is not recorded: the next recorder takes it. */
  stop(): Promise<void> {
    return this.#deliveries.stop();
  }

  async turn(): Promise<number> {
    const { store, clock, recorded } = this.#options;
    if (this.#held.length === 0) return Infinity;
    const ids = this.#held.flatMap(({ letter }) => letter.isOfJob ? [letter.event.id] : []);
    const known = new Map((await store.getMany(ids)).map((job) => [job.id, job]));
    const now = clock.monotonic();
    const isReady = ({ letter, waitUntil }: Held) => {
      const job = known.get(letter.event.id);
      return !letter.isOfJob || waitUntil <= now || (job !== undefined && isFinal(job.state));
    };
    const ready = this.#held.filter(isReady);
    if (ready.length > 0) {
      await this.#park(ready);
      const events = ready.map(({ letter }) => letter.event);
      recorded(await store.recordEvents(events), events);
      for (const { delivery, letter: { event } } of ready) {
        delivery.ack();
        log.warn("A dead letter was recorded: {reason}", {
          reason: event.reason,
          jobId: event.id,
          task: event.task,
          queue: event.queue,
        });
      }
      this.#held = this.#held.filter((held) => !ready.includes(held));
    }
    return this.#held.length === 0 ? Infinity : LOOK_AGAIN_MS;
  }

  async #read(delivery: Delivery): Promise<void> {
    const { clock } = this.#options;
    const letter = await readLetter(delivery, newId, clock.now());
    this.#held.push({ delivery, letter, waitUntil: clock.monotonic() + END_PATIENCE_MS });
    this.alarm.ring();
  }

  /** What is too large for a record waits in a queue of its own, which nobody drains. */
  async #park(held: readonly Held[]): Promise<void> {
    const { broker } = this.#options;
    for (const { delivery: { message }, letter } of held) {
      if (message.body.byteLength <= MAX_STORED_BYTES) continue;
      await broker.declareQueue(LARGE_DEAD_LETTERS_QUEUE);
      await broker.publish(
        { ...message, exchange: "", routingKey: LARGE_DEAD_LETTERS_QUEUE.name },
        { confirm: true, mandatory: true },
      );
      log.warn("A dead letter is too large for a record: its body waits in {queue}", {
        queue: LARGE_DEAD_LETTERS_QUEUE.name,
        jobId: letter.event.id,
      });
    }
  }
}
