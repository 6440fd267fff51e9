/**
 * A queue whose deliveries are held until a patient loop has recorded them: begun, paused and ended
 * with the recorder. What a delivery means, and when it is acked, is the owner's matter.
 */
import type { Broker, Consumer } from "../../broker/broker.ts";
import type { Delivery } from "../../broker/message.ts";
import { type PatientLoop, runPatiently } from "./patient_loop.ts";

export interface HeldDeliveriesOptions {
  readonly broker: Broker;
  readonly queue: string;
  readonly prefetch: number;
  /** Works off what is held. */
  readonly loop: PatientLoop;
  /** Holds one. */
  readonly hold: (delivery: Delivery) => Promise<void>;
  /** All that was held has gone back to the queue. */
  readonly dropped: () => void;
}

/** States: idle → consuming ⇄ paused → stopped. */
export class HeldDeliveries {
  readonly #options: HeldDeliveriesOptions;
  readonly #stopping = new AbortController();
  #consumer: Consumer | undefined;
  #reading: Promise<void> = Promise.resolve();
  #writing: Promise<void> | undefined;

  constructor(options: HeldDeliveriesOptions) {
    this.#options = options;
  }

  /** Begins, or goes on after a pause. */
  async resume(): Promise<void> {
    if (this.#consumer !== undefined || this.#stopping.signal.aborted) return;
    const { broker, queue, prefetch, loop } = this.#options;
    const consumer = await broker.consume(queue, { prefetch });
    this.#consumer = consumer;
    this.#reading = this.#read(consumer);
    this.#writing ??= runPatiently(loop, this.#stopping.signal);
  }

  /** Gives back what is held and takes nothing more. */
  async pause(): Promise<void> {
    const consumer = this.#consumer;
    this.#consumer = undefined;
    await consumer?.close();
    await this.#reading;
    this.#options.dropped();
  }

  /** Gives back what is not recorded: the next recorder takes it. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#writing;
    await this.pause();
  }

  async #read(consumer: Consumer): Promise<void> {
    for await (const delivery of consumer) await this.#options.hold(delivery);
  }
}
