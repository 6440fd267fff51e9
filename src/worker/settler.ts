/**
 * Carries settlements out: answers, dead letters, further rounds, and the ack that comes last. What
 * settlement it is to be is decided in admission.ts and settlement.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { PublishRefusedError, UnwritableMessageError } from "../broker/errors.ts";
import type { Delivery, Message } from "../broker/message.ts";
import { publishPatiently } from "../broker/publish_patiently.ts";
import { DEAD_LETTERS_QUEUE } from "../broker/topology.ts";
import { COX, wireInstant } from "../calls/wire/names.ts";
import {
  encodeReply,
  encodeRetrying,
  type Reply,
  type ReplyAddress,
} from "../calls/wire/reply_message.ts";
import { deadLetter, type ReceivedTask, republished } from "../calls/wire/task_message.ts";
import type { JobEventPublisher } from "../jobs/event_publisher.ts";
import type { JobEvent } from "../jobs/job_event.ts";
import type { RecorderPresence } from "../jobs/recorder_presence.ts";
import type { Clock } from "../lifecycle/clock.ts";
import type { TaskError } from "../tasks/task_error.ts";
import { bareMessage, bury } from "./dead_letters.ts";
import type { FollowUps } from "./follow_ups.ts";
import type { RecordedJob } from "./recorded_job.ts";
import type { Settlement } from "./settlement.ts";

const log = getLogger(["coxswain", "worker"]);

/** How long an answer waits for the broker to come back. */
const ANSWER_PATIENCE_MS = 30_000;
/** Pause before a delivery is given back whose settlement the broker did not take. */
const FAILED_PAUSE_MS = 1_000;

/** Delays that a worker keeps itself where no recorder is, as Celery does; more go to the recorder. */
const MAX_KEPT = 1_000;

export interface SettlerOptions {
  readonly broker: Broker;
  /** Where job events go, and who keeps delays. */
  readonly events: Pick<JobEventPublisher, "publish" | "tell">;
  readonly recorder: Pick<RecorderPresence, "isThere">;
  readonly followUps: Pick<FollowUps, "after">;
  readonly node: string;
  readonly clock: Clock;
  /** One more delivery is held for a later moment. */
  readonly onPaused?: () => void;
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
  /** Of a recorded job. */
  readonly job?: RecordedJob;
}

/** A delivery that is held for a later moment. */
interface Paused {
  readonly delivery: Delivery;
  readonly task: ReceivedTask | undefined;
  /** Epoch milliseconds. */
  readonly dueAt: number;
  /** Ends the pause as if its time had come. */
  readonly hasten: () => void;
}

export class Settler {
  readonly #options: SettlerOptions;
  /** Settlements on their way to the broker. */
  #underway = 0;
  #isStopping = false;
  /** What pauses now, by what ends its pause. */
  readonly #paused = new Map<() => void, Paused>();

  constructor(options: SettlerOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#underway === 0;
  }

  /** Deliveries that are held for a later moment. */
  get paused(): number {
    return this.#paused.size;
  }

  /** The requests among them. */
  *pausedRequests(): Iterable<Paused & { readonly task: ReceivedTask }> {
    for (const { task, ...paused } of this.#paused.values()) {
      if (task !== undefined) yield { task, ...paused };
    }
  }

  /** A request's pause ends now: what becomes of it has changed. */
  hasten(id: string): void {
    for (const { task, hasten } of [...this.#paused.values()]) {
      if (task?.id === id) hasten();
    }
  }

  /** From now on nothing pauses: what does is given back. */
  stopPausing(): void {
    this.#isStopping = true;
    for (const end of [...this.#paused.keys()]) end();
  }

  /** Carries a settlement out. What cannot be published is not acked: the broker delivers it again. */
  settle(settled: Settled, settlement: Settlement): void {
    const { delivery, task } = settled;
    switch (settlement.kind) {
      case "answer":
        return this.#finish(delivery, this.#tell(settled, settlement.reply));
      case "give_up":
        log.warn("Gave a message up: {reason}", {
          reason: settlement.reason,
          callId: task?.id,
          task: task?.task,
          queue: delivery.queue,
        });
        return this.#finish(
          delivery,
          this.#bury(delivery, settlement.reason).then(() => this.#tell(settled, settlement.reply)),
        );
      case "retry":
        return this.#retry(settled, settlement);
      case "try_again":
        return this.#publishLater(settled, settlement.pauseMs, settlement.headers);
      case "give_back":
        delivery.nack({ requeue: true });
        this.#options.onIdle();
    }
  }

  /**
   * A recorded job that may not start yet: it is left to the recorder, or held here where there is none.
   */
  delay(settled: Settled, delayMs: number, then: () => void): void {
    const { delivery, job, task } = settled;
    const dueAt = this.#options.clock.now() + delayMs;
    this.#keep(
      async () => {
        const request = await job?.request();
        return job && request && [job.story.scheduled(dueAt, request)];
      },
      delivery,
      () => this.after(delayMs, delivery, then, task),
    );
  }

  #retry(settled: Settled, { pauseMs, error }: Extract<Settlement, { kind: "retry" }>): void {
    const { delivery, task, job } = settled;
    const dueAt = this.#options.clock.now() + pauseMs;
    const headers = {
      retries: (task?.retries ?? 0) + 1,
      // Whoever ran it before may have published its retry.
      ...(delivery.redelivered ? { [COX.again]: true } : {}),
    };
    if (task?.isOurs === false) this.#tellRetrying(settled, error);
    this.#keep(
      async () => {
        const request = await job?.request();
        return job && request && [job.story.retrying(error, dueAt, request)];
      },
      delivery,
      () => {
        const events = () => task?.isRecorded ? job?.story.kept(error, dueAt) ?? [] : [];
        if (task?.isOurs !== false) {
          return this.#publishLater(settled, pauseMs, headers, events);
        }
        // Published at once, as Celery does: whoever takes it holds it until then.
        this.#again(settled, { ...headers, eta: wireInstant(dueAt) }, events);
      },
    );
  }

  #publishLater(
    settled: Settled,
    pauseMs: number,
    headers: Readonly<Record<string, string | number | boolean>>,
    events?: () => readonly JobEvent[],
  ): void {
    const publish = () => this.#again(settled, headers, events);
    if (pauseMs === 0 || this.#isStopping) publish();
    else this.after(pauseMs, settled.delivery, publish, settled.task);
  }

  /**
   * Publishes it again, then acks; what cannot be written came from a stranger and is given up.
   * @param events told once the message is in its queue, and not before: where this node ends until
   *   then, another one has the message as it was, and what that one tells of it must count.
   */
  #again(
    settled: Settled,
    headers: Readonly<Record<string, string | number | boolean>>,
    events: () => readonly JobEvent[] = () => [],
  ): void {
    const { delivery, task } = settled;
    this.#finish(delivery, async () => {
      try {
        await this.#publishAgain(delivery, task, headers);
        for (const event of events()) this.#options.events.tell(event);
        return undefined;
      } catch (error) {
        if (!(error instanceof UnwritableMessageError)) throw error;
        const reason = `It cannot be published again: ${error.message}`;
        const reply: Reply = { kind: "refused", message: reason };
        return () => this.settle(settled, { kind: "give_up", reason, reply });
      }
    });
  }

  /**
   * Lets the recorder keep a delay, or this worker where no recorder is or the events cannot be made.
   * A recorder that is only away finds the event when it is back; a worker holds few messages.
   */
  #keep(
    events: () => Promise<readonly JobEvent[] | undefined>,
    delivery: Delivery,
    hold: () => void,
  ): void {
    const { recorder } = this.#options;
    this.#finish(delivery, async () => {
      const isKept = this.#isStopping || this.#paused.size >= MAX_KEPT ||
        await recorder.isThere();
      const told = isKept ? await events() : undefined;
      if (told === undefined) return hold;
      await Promise.all(told.map((event) => this.#options.events.publish(event)));
      return undefined;
    });
  }

  /** Pauses before `then`; when pausing is stopped meanwhile, the delivery is given back instead. */
  after(delayMs: number, delivery: Delivery, then: () => void, task?: ReceivedTask): void {
    const over = () => {
      timer.cancel();
      this.#paused.delete(end);
    };
    const hasten = () => {
      over();
      then();
    };
    const end = () => {
      over();
      delivery.nack({ requeue: true });
    };
    const timer = this.#options.clock.after(delayMs, hasten);
    const dueAt = this.#options.clock.now() + delayMs;
    this.#paused.set(end, { delivery, task, dueAt, hasten });
    this.#options.onPaused?.();
  }

  /** Acks once `work` is done, unless it says what is to be done instead. */
  #finish(
    delivery: Delivery,
    work: Promise<void> | (() => Promise<void | (() => void)>),
  ): void {
    this.#underway++;
    const done: Promise<void | (() => void)> = typeof work === "function" ? work() : work;
    done.then((instead) => {
      if (instead) return instead();
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

  /** Has published what follows, then tells the record and whoever waits for an answer. */
  async #tell({ delivery, task, address, job }: Settled, reply: Reply): Promise<void> {
    const following = this.#options.followUps.after(delivery, task, reply);
    const children = following === undefined ? [] : await following;
    if (job !== undefined && task?.isRecorded) {
      await this.#options.events.publish(job.story.ended(reply));
    }
    await this.#answer(address && children.length > 0 ? { ...address, children } : address, reply);
  }

  /** A Celery client sees the state RETRY; nothing depends on it. */
  #tellRetrying({ address }: Settled, error: TaskError): void {
    if (address === undefined) return;
    this.#options.broker.publish(encodeRetrying(address, error)).then(
      undefined,
      (error: unknown) => {
        log.debug("A retry could not be told: {error}", { callId: address.id, error });
      },
    );
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
    const { broker } = this.#options;
    const letter = (message: Message) =>
      deadLetter(message, {
        to: DEAD_LETTERS_QUEUE.name,
        reason,
        queue: delivery.queue,
        node: this.#options.node,
        at: this.#options.clock.now(),
      });
    const publish: Parameters<typeof bury>[2] = (message, options) =>
      publishPatiently(broker, message, options, ANSWER_PATIENCE_MS);
    try {
      await bury(broker, letter(delivery.message), publish);
    } catch (error) {
      if (!(error instanceof UnwritableMessageError)) throw error;
      log.warn("A dead letter goes without its message's properties: {error}", {
        queue: delivery.queue,
        error,
      });
      await bury(broker, letter(bareMessage(delivery.message)), publish);
    }
  }

  #publishAgain(
    delivery: Delivery,
    task: ReceivedTask | undefined,
    headers: Readonly<Record<string, string | number | boolean>>,
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
