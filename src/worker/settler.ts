/**
 * Carries settlements out: answers, dead letters, further rounds, and the ack that comes last. What
 * settlement it is to be is decided in admission.ts and settlement.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { PublishRefusedError } from "../broker/errors.ts";
import type { Delivery, Message } from "../broker/message.ts";
import { publishPatiently } from "../broker/publish_patiently.ts";
import { DEAD_LETTERS_QUEUE } from "../broker/topology.ts";
import { COX } from "../calls/wire/names.ts";
import { encodeReply, type Reply, type ReplyAddress } from "../calls/wire/reply_message.ts";
import { deadLetter, type ReceivedTask, republished } from "../calls/wire/task_message.ts";
import type { Clock } from "../lifecycle/clock.ts";
import { bury } from "./dead_letters.ts";
import type { Settlement } from "./settlement.ts";

const log = getLogger(["coxswain", "worker"]);

/** How long an answer waits for the broker to come back. */
const ANSWER_PATIENCE_MS = 30_000;
/** Pause before a delivery is given back whose settlement the broker did not take. */
const FAILED_PAUSE_MS = 1_000;

export interface SettlerOptions {
  readonly broker: Broker;
  readonly node: string;
  readonly clock: Clock;
  /** Called whenever the last settlement underway has ended. */
  readonly onIdle: () => void;
  /** A message of a queue is dealt with. */
  readonly onSettled?: (queue: string) => void;
}

/** What is settled: a delivery, what was read of it, and who is told. */
export interface Settled {
  readonly delivery: Delivery;
  /** Absent where it could not be read. */
  readonly task: ReceivedTask | undefined;
  /** Absent where nobody asked for an answer. */
  readonly address: ReplyAddress | undefined;
}

export class Settler {
  readonly #options: SettlerOptions;
  /** Settlements on their way to the broker. */
  #underway = 0;
  #isStopping = false;
  /** Ends the pauses that go on now. */
  readonly #paused = new Set<() => void>();

  constructor(options: SettlerOptions) {
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

  /** Carries a settlement out. What cannot be published is not acked: the broker delivers it again. */
  settle(settled: Settled, settlement: Settlement): void {
    const { delivery, task, address } = settled;
    switch (settlement.kind) {
      case "answer":
        return this.#finish(delivery, this.#answer(address, settlement.reply));
      case "give_up":
        log.warn("Gave a message up: {reason}", {
          reason: settlement.reason,
          callId: task?.id,
          task: task?.task,
          queue: delivery.queue,
        });
        return this.#finish(
          delivery,
          this.#bury(delivery, settlement.reason).then(() =>
            this.#answer(address, settlement.reply)
          ),
        );
      case "try_again":
        if (settlement.pauseMs > 0 && !this.#isStopping) {
          return this.after(
            settlement.pauseMs,
            delivery,
            () => this.settle(settled, { ...settlement, pauseMs: 0 }),
          );
        }
        return this.#finish(delivery, this.#publishAgain(delivery, task, settlement.headers));
      case "give_back":
        delivery.nack({ requeue: true });
        this.#options.onIdle();
    }
  }

  /** Pauses before `then`; when pausing is stopped meanwhile, the delivery is given back instead. */
  after(delayMs: number, delivery: Delivery, then: () => void): void {
    const timer = this.#options.clock.after(delayMs, () => {
      this.#paused.delete(end);
      then();
    });
    const end = () => {
      timer.cancel();
      this.#paused.delete(end);
      delivery.nack({ requeue: true });
    };
    this.#paused.add(end);
  }

  /** Acks once `work` is done. */
  #finish(delivery: Delivery, work: Promise<void>): void {
    this.#underway++;
    work.then(() => {
      delivery.ack();
      this.#options.onSettled?.(delivery.queue);
    }, (error: unknown) => {
      log.warn("A settlement could not be published: {error}", { queue: delivery.queue, error });
      // It comes back at once, and what stopped it is likely still there.
      this.after(FAILED_PAUSE_MS, delivery, () => delivery.nack({ requeue: true }));
    }).finally(() => {
      this.#underway--;
      if (this.isIdle) this.#options.onIdle();
    });
  }

  async #answer(address: ReplyAddress | undefined, reply: Reply): Promise<void> {
    if (address === undefined) return;
    try {
      const message = encodeReply(address, reply);
      await this.#publish(message instanceof Promise ? await message : message);
    } catch (error) {
      if (!(error instanceof PublishRefusedError)) throw error;
      log.warn("A reply could not be written: {error}", { callId: address.id, error });
    }
  }

  async #bury(delivery: Delivery, reason: string): Promise<void> {
    const letter = deadLetter(delivery.message, {
      to: DEAD_LETTERS_QUEUE.name,
      reason,
      queue: delivery.queue,
      node: this.#options.node,
      at: this.#options.clock.now(),
    });
    const { broker } = this.#options;
    await bury(broker, letter, (message, options) => {
      return publishPatiently(broker, message, options, ANSWER_PATIENCE_MS);
    });
  }

  #publishAgain(
    delivery: Delivery,
    task: ReceivedTask | undefined,
    headers: Readonly<Record<string, number>>,
  ): Promise<void> {
    const expiresAt = task?.kind === "call" ? task.expiresAt : undefined;
    const leftMs = expiresAt === undefined ? undefined : expiresAt - this.#options.clock.now();
    return this.#publish(
      republished(delivery.message, {
        queue: delivery.queue,
        headers,
        // A guilty call was taken in time: only what still waits may expire in the queue.
        ...(leftMs === undefined || headers[COX.deaths] !== undefined
          ? {}
          : { expirationMs: Math.max(1, Math.ceil(leftMs)) }),
      }),
      { confirm: true, mandatory: true },
    );
  }

  async #publish(
    message: Message,
    options: { confirm?: boolean; mandatory?: boolean } = {},
  ): Promise<void> {
    const result = await publishPatiently(
      this.#options.broker,
      message,
      options,
      ANSWER_PATIENCE_MS,
    );
    if (result === "returned") {
      throw new PublishRefusedError(
        `Cannot publish to queue "${message.routingKey}": there is no such queue`,
      );
    }
  }
}
