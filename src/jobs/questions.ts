/**
 * Questions to recorders on `cox.jobs`, routing key `ask.<what>`, and their answers: shapes, JSON, and
 * the asking side. Each recorder hears each question; who answers is src/jobs/recorder/answers.ts.
 */
import { getLogger } from "@logtape/logtape";
import * as v from "valibot";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { readJsonBody } from "../broker/json_body.ts";
import type { Message } from "../broker/message.ts";
import { JOBS_EXCHANGE } from "../broker/topology.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";

const log = getLogger(["coxswain", "jobs"]);

const Question = v.variant("about", [
  /** Which jobs must not run. */
  v.object({ about: v.literal("cancelled") }),
  /** Who keeps the records; the node that asks does not answer itself. */
  v.object({ about: v.literal("recorder"), node: v.string() }),
  /** No question: a job is due at this instant, in epoch milliseconds. */
  v.object({ about: v.literal("due"), at: v.number() }),
]);

export type Question = v.InferOutput<typeof Question>;

const CancelledIds = v.object({ ids: v.array(v.string()), isLast: v.boolean() });
export type CancelledIds = v.InferOutput<typeof CancelledIds>;

const RecorderFacts = v.object({
  node: v.string(),
  /** Where its records are, for people. */
  place: v.string(),
  /** Whether others may keep records beside it, in the same store. */
  isShared: v.boolean(),
});
export type RecorderFacts = v.InferOutput<typeof RecorderFacts>;

const encoder = new TextEncoder();

/** Binds all questions. */
export const QUESTIONS_KEY = "ask.*";

export function questionMessage(question: Question, replyTo?: string): Message {
  return {
    exchange: JOBS_EXCHANGE.name,
    routingKey: `ask.${question.about}`,
    properties: {
      contentType: "application/json",
      ...(replyTo === undefined ? {} : { replyTo }),
    },
    body: encoder.encode(JSON.stringify(question)),
  };
}

export function answerMessage(replyTo: string, answer: CancelledIds | RecorderFacts): Message {
  return {
    exchange: "",
    routingKey: replyTo,
    properties: { contentType: "application/json" },
    body: encoder.encode(JSON.stringify(answer)),
  };
}

/** Undefined for all that is not a question: anybody may publish on the exchange. */
export function decodeQuestion(body: Uint8Array): Question | undefined {
  return readJsonBody(Question, body);
}

export interface AskOptions {
  readonly timeoutMs: number;
  readonly clock?: Clock;
}

/**
 * Asks which jobs must not run, as a worker does before it consumes.
 * @returns undefined where no recorder is there, or none answered in time.
 * @throws BrokerAwayError
 */
export async function askCancelledIds(
  broker: Broker,
  options: AskOptions,
): Promise<readonly string[] | undefined> {
  return await ask(broker, { about: "cancelled" }, options, async (queue) => {
    const ids: string[] = [];
    for await (const { message } of queue) {
      const answer = readJsonBody(CancelledIds, message.body);
      // With several recorders their parts come mixed; the first that ends has told all.
      ids.push(...answer?.ids ?? []);
      if (answer?.isLast) return ids;
    }
    return undefined;
  });
}

/**
 * Asks who keeps the records of this broker's jobs.
 * @param node who asks.
 * @param isWanted whose answer counts.
 * @returns the first such; undefined where there was none in time.
 * @throws BrokerAwayError
 */
export async function askRecorder(
  broker: Broker,
  node: string,
  isWanted: (facts: RecorderFacts) => boolean,
  options: AskOptions,
): Promise<RecorderFacts | undefined> {
  return await ask(broker, { about: "recorder", node }, options, async (queue) => {
    for await (const { message } of queue) {
      const answer = readJsonBody(RecorderFacts, message.body);
      if (answer !== undefined && isWanted(answer)) return answer;
    }
    return undefined;
  });
}

/**
 * Tells recorders that a job which they may not have heard of is due soon. Without it they find it
 * within a second, so that it is no loss where the broker does not take it. Never rejects.
 */
export async function tellDue(broker: Broker, at: number): Promise<void> {
  try {
    await broker.publish(questionMessage({ about: "due", at }));
  } catch (error) {
    log.debug("Recorders were not told of a job that is due: {error}", { error });
  }
}

async function ask<T>(
  broker: Broker,
  question: Question,
  { timeoutMs, clock = systemClock }: AskOptions,
  read: (queue: PrivateQueue) => Promise<T | undefined>,
): Promise<T | undefined> {
  const queue = await broker.openPrivateQueue({ prefix: "cox.answers." });
  const timer = clock.after(timeoutMs, () => void queue.close());
  try {
    const answer = read(queue);
    if (queue.name === undefined) return undefined;
    const options = { mandatory: true, confirm: true };
    const result = await broker.publish(questionMessage(question, queue.name), options);
    return result === "returned" ? undefined : await answer;
  } finally {
    timer.cancel();
    await queue.close();
  }
}
