/**
 * Where requests are among all workers, ours and Celery's: Celery's `query_task`, asked of all of them
 * at once. A Celery worker does not say that it has taken a request; it answers when it is asked.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError, DeclarationError, PublishRefusedError } from "../broker/errors.ts";
import { CONTROL_EXCHANGE, CONTROL_REPLY_EXCHANGE } from "../broker/topology.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import { newId } from "../platform/ids.ts";
import { decodeTaskQueryAnswer, encodeTaskQuery, type TaskPlace } from "./wire/control_message.ts";

const log = getLogger(["coxswain", "calls"]);

/** How long workers may take to answer: what Celery's own `inspect` gives them. */
const ANSWER_WAIT_MS = 1_000;
/** What is asked within so long is one question. */
const GATHER_MS = 20;
/** Ids of one question. */
const MAX_IDS = 1_000;

/**
 * Where a request is:
 * - active: it runs;
 * - reserved: a worker holds it, and it has not begun, or waits for its ETA;
 * - unseen: workers answered, and none of them has it;
 * - silent: nobody answered. A worker without a pool of processes cannot while it runs a task.
 */
export type Whereabouts =
  | { readonly kind: "active"; readonly node: string; readonly startedAt?: number }
  | { readonly kind: "reserved" | "unseen" | "silent" };

interface Question {
  readonly ids: Set<string>;
  readonly places: Map<string, TaskPlace>;
  readonly found: () => void;
  answers: number;
}

export class CeleryInquiry {
  readonly #broker: Broker;
  readonly #clock: Clock;
  /** Where answers come to, by the name that Celery's workers are told. */
  readonly #replyKey = newId();
  readonly #questions = new Map<string, Question>();
  #queue: Promise<PrivateQueue> | undefined;
  #loop: Promise<void> | undefined;
  #gathered: { readonly ids: Set<string>; readonly asked: Promise<Question> } | undefined;

  constructor(broker: Broker, clock: Clock = systemClock) {
    this.#broker = broker;
    this.#clock = clock;
  }

  /** Never rejects: where it cannot be asked, nobody answers. */
  async find(id: string): Promise<Whereabouts> {
    let group = this.#gathered;
    if (group === undefined || group.ids.size >= MAX_IDS) {
      const ids = new Set<string>();
      group = { ids, asked: this.#ask(ids) };
      this.#gathered = group;
    }
    group.ids.add(id);
    const { places, answers } = await group.asked;
    const place = places.get(id);
    if (place === undefined) return { kind: answers > 0 ? "unseen" : "silent" };
    const { state, ...where } = place;
    return state === "active" ? { kind: "active", ...where } : { kind: "reserved" };
  }

  async stop(): Promise<void> {
    const queue = await this.#queue?.catch(() => undefined);
    await queue?.close();
    await this.#loop;
  }

  /** @param ids may grow for a moment. */
  async #ask(ids: Set<string>): Promise<Question> {
    const found = Promise.withResolvers<void>();
    const question: Question = { ids, places: new Map(), found: found.resolve, answers: 0 };
    const ticket = newId();
    await new Promise<void>((resolve) => this.#clock.after(GATHER_MS, resolve));
    if (this.#gathered?.ids === ids) this.#gathered = undefined;
    try {
      await this.#listening();
      this.#questions.set(ticket, question);
      const late = this.#clock.after(ANSWER_WAIT_MS, found.resolve);
      await this.#broker.publish(encodeTaskQuery({
        ids: [...ids],
        ticket,
        replyKey: this.#replyKey,
      }));
      await found.promise;
      late.cancel();
    } catch (error) {
      const isTheBrokers = error instanceof BrokerAwayError ||
        error instanceof PublishRefusedError || error instanceof DeclarationError;
      if (!isTheBrokers) throw error;
      log.debug("Workers could not be asked for requests: {error}", { error, ids: ids.size });
    } finally {
      this.#questions.delete(ticket);
    }
    return question;
  }

  /** The queue is opened with the first question: most nodes never ask one. */
  async #listening(): Promise<void> {
    this.#queue ??= this.#open();
    try {
      await this.#queue;
    } catch (error) {
      this.#queue = undefined;
      throw error;
    }
  }

  async #open(): Promise<PrivateQueue> {
    await this.#broker.declareExchange(CONTROL_EXCHANGE);
    await this.#broker.declareExchange(CONTROL_REPLY_EXCHANGE);
    const queue = await this.#broker.openPrivateQueue({
      prefix: "reply.celery.",
      bindings: [{ exchange: CONTROL_REPLY_EXCHANGE.name, routingKey: this.#replyKey }],
    });
    this.#loop = this.#listen(queue);
    return queue;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const delivery of queue) {
      const answer = decodeTaskQueryAnswer(delivery);
      const question = answer && this.#questions.get(answer.ticket ?? "");
      if (answer === undefined || question === undefined) continue;
      question.answers++;
      for (const [id, place] of answer.places) {
        // One that came back redelivered may be at two of them: what runs counts.
        if (question.places.get(id)?.state !== "active") question.places.set(id, place);
      }
      if ([...question.ids].every((id) => question.places.has(id))) question.found();
    }
  }
}
