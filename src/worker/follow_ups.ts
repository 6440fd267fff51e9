/**
 * Publishes what a Celery client asked to run after its task: callbacks, errbacks, the rest of a chain.
 * It is done before the task's message is acked, so that a crash repeats it rather than loses it; the
 * ids are the same then. What it is to be is decided in src/calls/wire/canvas.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { DeclarationError, PublishRefusedError } from "../broker/errors.ts";
import type { Delivery, Message } from "../broker/message.ts";
import { publishPatiently } from "../broker/publish_patiently.ts";
import { DEAD_LETTERS_QUEUE } from "../broker/topology.ts";
import { afterFailure, afterSuccess, type Following } from "../calls/wire/canvas.ts";
import { InflateError } from "../calls/wire/compression.ts";
import { followUpMessage } from "../calls/wire/follow_up_message.ts";
import { encodeReply, failureOf, type Reply } from "../calls/wire/reply_message.ts";
import { awaitedIn, type Canvas, mayHaveCanvas, readCanvas } from "../calls/wire/signature.ts";
import { deadLetter, type ReceivedTask } from "../calls/wire/task_message.ts";
import type { Clock } from "../lifecycle/clock.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import { bodyText } from "./body_text.ts";
import { bury } from "./dead_letters.ts";

const log = getLogger(["coxswain", "worker"]);

/** Celery's default queue, where its own worker would publish what names no other. */
export const CELERY_QUEUE = "celery";
/** How long a publication waits for the broker to come back. */
const PATIENCE_MS = 30_000;

export interface FollowUpsOptions {
  readonly broker: Broker;
  readonly node: string;
  /** What this worker can run. */
  readonly tasks: ReadonlyMap<string, TaskDescriptor>;
  /** The queue that a route names, or that a task of any worker of ours is announced on. */
  readonly queueOf: (task: string) => string | undefined;
  /** Most bytes that a compressed body may inflate to. */
  readonly maxBodyBytes: number;
  readonly clock: Clock;
}

export class FollowUps {
  readonly #options: FollowUpsOptions;

  constructor(options: FollowUpsOptions) {
    this.#options = options;
  }

  /**
   * Publishes what follows from how a task ended; resolves with Celery's `children` once the broker has
   * it. Undefined where nothing can follow, which most messages tell at a glance.
   */
  after(
    delivery: Delivery,
    task: ReceivedTask | undefined,
    reply: Reply,
  ): Promise<readonly unknown[]> | undefined {
    if (task === undefined || task.isOurs) return undefined;
    if (!task.isCompressed && !mayHaveCanvas(delivery.message.body)) return undefined;
    return this.#after(delivery, task, reply);
  }

  async #after(
    delivery: Delivery,
    task: ReceivedTask,
    reply: Reply,
  ): Promise<readonly unknown[]> {
    const canvas = await this.#canvas(delivery, task);
    if (canvas === undefined) return [];
    if (reply.kind === "succeeded") {
      const { requests, children } = afterSuccess(canvas, endedOf(task), reply.resultJson);
      await this.#publishAll(requests, delivery.queue);
      return children;
    }
    await Promise.all([
      this.#publishAll(this.#errbacks(canvas, task, reply).requests, delivery.queue),
      this.#tellLaterSteps(canvas, task, reply),
    ]);
    return [];
  }

  async #canvas({ message }: Delivery, task: ReceivedTask): Promise<Canvas | undefined> {
    try {
      return readCanvas(
        await bodyText(message.body, task.isCompressed, this.#options.maxBodyBytes),
      );
    } catch (error) {
      // It never ran either, and its sender is told so.
      if (error instanceof InflateError || error instanceof TypeError) return undefined;
      throw error;
    }
  }

  /** As in Celery, what never ran because it was revoked or too late calls nobody. */
  #errbacks(canvas: Canvas, task: ReceivedTask, reply: Reply): Following {
    if (reply.kind === "expired" || reply.kind === "cancelled") {
      return { requests: [], children: [] };
    }
    const takesFailure = (name: string) => (this.#options.tasks.get(name)?.parameters ?? 0) > 1;
    return afterFailure(canvas, endedOf(task), failureOf(reply, task.task), takesFailure);
  }

  /** Who waits for a later step of the chain would wait for ever. */
  async #tellLaterSteps(canvas: Canvas, task: ReceivedTask, reply: Reply): Promise<void> {
    const { broker, node } = this.#options;
    await Promise.all(
      awaitedIn(canvas).map(async ({ id, replyTo }) => {
        const message = await encodeReply(
          { id, replyTo, correlationId: id, mayCompress: false, node, celeryTask: task.task },
          reply,
        );
        try {
          await publishPatiently(broker, message, {}, PATIENCE_MS);
        } catch (error) {
          if (!(error instanceof PublishRefusedError)) throw error;
          log.warn("A reply could not be written: {error}", { callId: id, error });
        }
      }),
    );
  }

  async #publishAll(requests: Following["requests"], from: string): Promise<void> {
    const { tasks, queueOf, node, clock } = this.#options;
    const underway: Promise<void>[] = [];
    for (const request of requests) {
      const { task } = request;
      const message = await followUpMessage(request, {
        queue: queueOf(task) ?? tasks.get(task)?.queue ?? CELERY_QUEUE,
        origin: node,
        now: clock.now(),
      });
      // One after the other, so that they keep their order; the confirms come together.
      underway.push(this.#publish(message, from));
    }
    await Promise.all(underway);
  }

  async #publish(message: Message, from: string): Promise<void> {
    try {
      if (await this.#send(message) !== "returned") return;
      if (message.exchange !== "") throw new PublishRefusedError("no queue is bound for it");
      // As Celery's own publishers do: whoever serves it later finds it there.
      await this.#options.broker.declareQueue({ name: message.routingKey });
      if (await this.#send(message) !== "returned") return;
      throw new PublishRefusedError(`there is no queue "${message.routingKey}"`);
    } catch (error) {
      if (!(error instanceof PublishRefusedError || error instanceof DeclarationError)) throw error;
      await this.#giveUp(message, `It cannot be published: ${error.message}`, from);
    }
  }

  #send(message: Message) {
    const options = { confirm: true, mandatory: true };
    return publishPatiently(this.#options.broker, message, options, PATIENCE_MS);
  }

  /** It would fail for ever: it is kept for an operator, and who waits for it is told. */
  async #giveUp(message: Message, reason: string, from: string): Promise<void> {
    const { broker, node, clock } = this.#options;
    const { headers = {}, replyTo, correlationId } = message.properties;
    const id = String(headers.id);
    log.warn("What follows from a task was given up: {reason}", {
      reason,
      callId: id,
      queue: from,
    });
    const letter = deadLetter(message, {
      to: DEAD_LETTERS_QUEUE.name,
      reason,
      queue: message.exchange === "" ? message.routingKey : from,
      node,
      at: clock.now(),
    });
    await bury(
      broker,
      letter,
      (one, options) => publishPatiently(broker, one, options, PATIENCE_MS),
    );
    if (replyTo === undefined) return;
    const reply = await encodeReply({
      id,
      replyTo,
      correlationId: correlationId ?? id,
      mayCompress: false,
      node,
      celeryTask: String(headers.task),
    }, { kind: "refused", message: reason });
    await publishPatiently(broker, reply, {}, PATIENCE_MS);
  }
}

function endedOf({ id, task, rootId }: ReceivedTask) {
  return { id, task, rootId };
}
