/**
 * Carries out what becomes of consumed messages: acks, dead letters, further rounds. What cannot be
 * published is not acked: the broker delivers it again. Nothing is published a second time after the
 * broker was lost, for then it delivers the message again by itself.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { PublishRefusedError, UnwritableMessageError } from "../broker/errors.ts";
import type { Delivery, Message, MessageHeaders } from "../broker/message.ts";
import { DEAD_LETTERS_QUEUE } from "../broker/topology.ts";
import { deadLetter } from "../calls/wire/task_message.ts";
import type { Clock } from "../lifecycle/clock.ts";
import { type Consumed, ownHeaders, type Progress } from "./consumed.ts";
import { bareMessage, bury } from "./dead_letters.ts";

const log = getLogger(["coxswain", "worker"]);

/** Pause before a delivery is given back whose settlement the broker did not take. */
const FAILED_PAUSE_MS = 1_000;
/** Headers must fit into a frame with those that the message has. */
const MAX_REASON_LENGTH = 1_000;

export interface MessageEndsOptions {
  readonly broker: Broker;
  readonly node: string;
  readonly clock: Clock;
  readonly onSettled: (queue: string) => void;
  /** Called whenever the last settlement underway has ended. */
  readonly onIdle: () => void;
}

/** The present delivery of a message: another one where the broker has delivered it again. */
type Present = () => Delivery;

export class MessageEnds {
  readonly #options: MessageEndsOptions;
  #underway = 0;
  #isStopping = false;
  /** Ends the pauses that go on now. */
  readonly #paused = new Set<() => void>();

  constructor(options: MessageEndsOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#underway === 0;
  }

  /** From now on nothing pauses: what does is given back. */
  stopPausing(): void {
    this.#isStopping = true;
    for (const end of this.#paused) end();
  }

  /** @param over called when the message is out of this worker's hands. */
  ack(queue: string, delivery: Present, over: () => void): void {
    over();
    delivery().ack();
    this.#options.onSettled(queue);
    this.#options.onIdle();
  }

  giveBack(delivery: Present, over: () => void): void {
    over();
    delivery().nack({ requeue: true });
    this.#options.onIdle();
  }

  giveUp(
    queue: string,
    delivery: Present,
    over: () => void,
    reason: string,
    consumed: Consumed,
    progress: Progress,
  ): void {
    const { message } = delivery();
    const own = ownHeaders(consumed, progress);
    const work = async () => {
      try {
        await this.#bury(queue, message, { ...message.properties.headers, ...own }, reason);
      } catch (error) {
        if (!(error instanceof PublishRefusedError)) throw error;
        // Its own properties may leave no room for the story.
        log.warn("A dead letter goes without its message's properties: {error}", { queue, error });
        await this.#bury(queue, bareMessage(message), own, reason);
      }
    };
    this.#finish(queue, delivery, over, work());
  }

  async #bury(
    queue: string,
    message: Message,
    headers: MessageHeaders,
    reason: string,
  ): Promise<void> {
    const { broker, node, clock } = this.#options;
    const letter = deadLetter({ ...message, properties: { ...message.properties, headers } }, {
      to: DEAD_LETTERS_QUEUE.name,
      reason: reason.slice(0, MAX_REASON_LENGTH).toWellFormed(),
      queue,
      node,
      at: clock.now(),
    });
    await bury(broker, letter, (one, options) => broker.publish(one, options));
  }

  /** Publishes a message to its queue again; one that cannot be written is given up. */
  publishAgain(queue: string, delivery: Present, over: () => void, message: Message): void {
    const again = async () => {
      const options = { confirm: true, mandatory: true };
      const result = await this.#options.broker.publish(message, options);
      if (result !== "returned") return;
      throw new PublishRefusedError(`Cannot publish to queue "${queue}": there is no such queue`);
    };
    const work = async () => {
      try {
        await again();
      } catch (error) {
        if (!(error instanceof UnwritableMessageError)) throw error;
        const reason = `It cannot be published again: ${error.message}`;
        log.warn("Gave a message of {queue} up: {reason}", { queue, reason });
        await this.#bury(queue, bareMessage(message), ourHeaders(message), reason);
      }
    };
    this.#finish(queue, delivery, over, work());
  }

  /** Acks once `work` is done. */
  #finish(queue: string, delivery: Present, over: () => void, work: Promise<void>): void {
    this.#underway++;
    work.then(() => {
      over();
      delivery().ack();
      this.#options.onSettled(queue);
    }, (error: unknown) => {
      log.warn("What became of a message could not be published: {error}", { queue, error });
      this.#giveBackLater(delivery, over);
    }).finally(() => {
      this.#underway--;
      if (this.isIdle) this.#options.onIdle();
    });
  }

  /** It comes back at once, and what stopped it is likely still there. */
  #giveBackLater(delivery: Present, over: () => void): void {
    const giveBack = () => {
      timer.cancel();
      this.#paused.delete(giveBack);
      over();
      delivery().nack({ requeue: true });
    };
    const timer = this.#options.clock.after(FAILED_PAUSE_MS, giveBack);
    this.#paused.add(giveBack);
    if (this.#isStopping) giveBack();
  }
}

/** What workers wrote on a message, without its publisher's. */
function ourHeaders({ properties: { headers = {} } }: Message): MessageHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith("cox-")));
}
