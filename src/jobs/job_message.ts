/**
 * Between a job's record and the message that runs it, both ways: the recorder writes messages of what
 * is due, and workers tell what a message asks where the record may lack it.
 */
import type { Message } from "../broker/message.ts";
import { CELERY_REPLIES_QUEUE } from "../broker/topology.ts";
import { keptHeaders, readKeptHeaders } from "../calls/wire/celery_headers.ts";
import { elementTexts } from "../calls/wire/json_elements.ts";
import { encodeTask, type ReceivedTask } from "../calls/wire/task_message.ts";
import type { Job } from "./job.ts";
import type { JobRequest } from "./job_event.ts";

/** What a record needs so that its message can be written. */
export type Publishable = Pick<
  Job,
  "id" | "task" | "queue" | "firstAttempt" | "rootId" | "parentId" | "terms" | "payload"
>;

/**
 * The message of one attempt.
 * @param attempt from 1 on.
 * @param sender the node and version that it is published by.
 * @param etaAt where a worker is to hold it until then (epoch milliseconds).
 * @throws Error where the record does not say what the task is called with.
 */
export function jobMessage(
  job: Publishable,
  attempt: number,
  sender: { readonly node: string; readonly version: string },
  etaAt?: number,
): Message | Promise<Message> {
  const { id, task, queue, firstAttempt, rootId, parentId, terms = {}, payload } = job;
  if (payload === undefined) {
    throw new Error(`Cannot publish job ${id}: its record does not say what to call ${task} with`);
  }
  const { priority, expiresAt, timeoutMs, softTimeoutMs, retryLimit, replyTo, correlationId } =
    terms;
  return encodeTask({
    id,
    task,
    queue,
    kind: "job",
    input: payload.input,
    headers: payload.headers,
    retries: attempt - 1,
    firstAttempt,
    origin: sender.node,
    version: sender.version,
    ...(etaAt === undefined ? {} : { etaAt }),
    ...(payload.embedJson === undefined ? {} : { embedJson: payload.embedJson }),
    ...(payload.celeryJson === undefined
      ? {}
      : { celeryHeaders: readKeptHeaders(payload.celeryJson) }),
    ...(rootId === undefined || parentId === undefined ? {} : { parent: { id: parentId, rootId } }),
    ...(priority === undefined ? {} : { priority }),
    ...(expiresAt === undefined ? {} : { expires: { at: expiresAt, inMs: 0 } }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(softTimeoutMs === undefined ? {} : { softTimeoutMs }),
    ...(retryLimit === undefined ? {} : { retryLimit }),
    // A Celery worker may take it from a queue that it shares with ours.
    replyTo: replyTo ?? CELERY_REPLIES_QUEUE.name,
    ...(correlationId === undefined ? {} : { correlationId }),
  });
}

/**
 * What a message asks, for the record.
 * @param body its body as text: Celery's triple.
 * @returns undefined where the body is not such a triple: then nobody can publish it again either.
 */
export function jobRequest(
  task: ReceivedTask,
  priority: number | undefined,
  body: string,
): JobRequest | undefined {
  const triple = readTriple(body);
  if (triple === undefined) return undefined;
  const { etaAt, expiresAt, timeoutMs, softTimeoutMs, retryLimit, replyTo, correlationId, id } =
    task;
  return {
    terms: {
      ...(priority === undefined ? {} : { priority }),
      ...(etaAt === undefined ? {} : { etaAt }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(softTimeoutMs === undefined ? {} : { softTimeoutMs }),
      ...(retryLimit === undefined ? {} : { retryLimit }),
      ...(replyTo === undefined || replyTo === "" ? {} : { replyTo }),
      ...(correlationId === id ? {} : { correlationId }),
    },
    payload: {
      ...triple,
      headers: task.headers,
      ...(task.celeryHeaders === undefined ? {} : { celeryJson: keptHeaders(task.celeryHeaders) }),
    },
  };
}

function readTriple(body: string): Pick<JobRequest["payload"], "input" | "embedJson"> | undefined {
  let triple: unknown;
  try {
    triple = JSON.parse(body);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (!Array.isArray(triple) || triple.length !== 3) return undefined;
  const [argsJson = "[]", kwargsJson = "{}", embedJson = "null"] = elementTexts(body);
  const input = { argsJson, kwargsJson };
  return isEmptyEmbed(triple[2]) ? { input } : { input, embedJson };
}

/** Celery writes the four names even where there is nothing. */
function isEmptyEmbed(embed: unknown): boolean {
  return typeof embed !== "object" || embed === null ||
    Object.values(embed).every((value) => value === null || value === undefined);
}
