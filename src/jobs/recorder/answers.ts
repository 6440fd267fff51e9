/**
 * Answers questions that come to every recorder: which jobs must not run, and who keeps the records.
 * Questions themselves are src/jobs/questions.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../../broker/errors.ts";
import { JOBS_EXCHANGE } from "../../broker/topology.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { StoreAwayError } from "../../store/errors.ts";
import type { Store } from "../../store/store.ts";
import {
  answerMessage,
  type CancelledIds,
  decodeQuestion,
  type Question,
  QUESTIONS_KEY,
  type RecorderFacts,
} from "../questions.ts";

const log = getLogger(["coxswain", "recorder"]);

const IDS_OF_ONE_MESSAGE = 10_000;
/** Cancels of the last hour are told whatever became of the job's message: news may be on its way. */
const CANCELLED_SINCE_MS = 3_600_000;

export interface AnswersOptions {
  readonly broker: Broker;
  readonly store: Store;
  readonly node: string;
  readonly clock: Clock;
  /** Undefined while this node keeps no records. */
  readonly facts: () => RecorderFacts | undefined;
  /** A job is due that this recorder may not have heard of. */
  readonly due: (at: number) => void;
}

export class Answers {
  readonly #options: AnswersOptions;
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#queue = await this.#options.broker.openPrivateQueue({
      prefix: "cox.questions.",
      bindings: [{ exchange: JOBS_EXCHANGE.name, routingKey: QUESTIONS_KEY }],
    });
    this.#loop = this.#listen(this.#queue);
  }

  async stop(): Promise<void> {
    await this.#queue?.close();
    await this.#loop;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message } of queue) {
      const question = decodeQuestion(message.body);
      if (question === undefined) {
        log.debug("Passed over a message that is no question", { routingKey: message.routingKey });
        continue;
      }
      try {
        await this.#answer(question, message.properties.replyTo ?? "");
      } catch (error) {
        const isPassing = error instanceof StoreAwayError || error instanceof BrokerAwayError ||
          error instanceof PublishRefusedError;
        if (!isPassing) throw error;
        // Who asked waits no longer than he said.
        log.warn("A question was not answered: {reason}", {
          about: question.about,
          reason: error.message,
        });
      }
    }
  }

  async #answer(question: Question, replyTo: string): Promise<void> {
    const { broker, node, facts, due } = this.#options;
    const mine = facts();
    if (mine === undefined) return;
    switch (question.about) {
      case "due":
        return due(question.at);
      case "recorder":
        if (question.node === node || replyTo === "") return;
        await broker.publish(answerMessage(replyTo, mine));
        return;
      case "cancelled":
        if (replyTo === "") return;
        for (const part of await this.#cancelledIds()) {
          await broker.publish(answerMessage(replyTo, part));
        }
    }
  }

  async #cancelledIds(): Promise<readonly CancelledIds[]> {
    const { store, clock } = this.#options;
    const ids = await store.cancelledIds(clock.now() - CANCELLED_SINCE_MS);
    const parts = Math.max(1, Math.ceil(ids.length / IDS_OF_ONE_MESSAGE));
    return Array.from({ length: parts }, (_, index) => ({
      ids: ids.slice(index * IDS_OF_ONE_MESSAGE, (index + 1) * IDS_OF_ONE_MESSAGE),
      isLast: index === parts - 1,
    }));
  }
}
