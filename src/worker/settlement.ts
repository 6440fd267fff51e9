/**
 * What the end of an attempt means for its message: the one table from endings to settlements. Pure;
 * executor.ts carries it out.
 */
import type { Reply } from "../calls/wire/reply_message.ts";
import type { ReceivedTask } from "../calls/wire/task_message.ts";
import { COX } from "../calls/wire/names.ts";
import type { AttemptEnd } from "../isolates/attempt.ts";
import { DEFAULT_RETRY, jittered, pauseBefore } from "../jobs/retry_policy.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import { memoryExceededText } from "../isolates/memory_text.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import type { TaskError } from "../tasks/task_error.ts";
import { giveUpGuilty, MAX_DEATHS } from "./admission.ts";

export type Settlement =
  /** Tell the sender, then ack. */
  | { readonly kind: "answer"; readonly reply: Reply }
  /** Publish it again with these headers after a pause, then ack. */
  | {
    readonly kind: "try_again";
    readonly pauseMs: number;
    readonly headers: Readonly<Record<string, number>>;
  }
  /** Its next attempt comes after a pause, which the recorder keeps where it can. */
  | { readonly kind: "retry"; readonly pauseMs: number; readonly error: TaskError }
  /** Dead-letter it, tell the sender, then ack. */
  | { readonly kind: "give_up"; readonly reason: string; readonly reply: Reply }
  /** Nack with requeue: it runs elsewhere. */
  | { readonly kind: "give_back" };

export interface SettlementFacts {
  /** From 0 to 1, for the jitter of pauses. */
  readonly random: number;
  readonly task: ReceivedTask;
  readonly descriptor: TaskDescriptor;
  /** It ran alone in a process of its own, because it came back redelivered. */
  readonly alone: boolean;
  /** This worker is stopping, which is why it was cancelled. */
  readonly isStopping: boolean;
}

/** Pause after a process could not be made ready for a message. */
export const NOT_READY_PAUSE_MS = 1_000;

export function settle(end: AttemptEnd, facts: SettlementFacts): Settlement {
  const { task } = facts;
  switch (end.kind) {
    case "returned":
      return answer({ kind: "succeeded", resultJson: end.resultJson, headers: end.headers });
    case "threw": {
      const { error, headers } = end;
      const reply: Reply = { kind: "failed", error, headers };
      if (isJob(task)) {
        return end.rejected ? giveUp(error.message, reply) : retryJob(facts, {
          error,
          afterMs: end.retry?.afterMs,
          reply,
        });
      }
      const again = end.retry && nextAttempt(task, facts.descriptor, error, end.retry.afterMs);
      return again ?? answer(reply);
    }
    case "malformed":
      return giveUp(end.reason, { kind: "refused", message: end.reason });
    case "unknown_task":
      return answer({
        kind: "failed",
        error: { type: "NotRegistered", message: `This worker has no task "${task.task}"` },
        headers: {},
      });
    case "timed_out": {
      const reply: Reply = { kind: "timed_out", limitMs: end.limitMs };
      if (!isJob(task)) return answer(reply);
      const message = `It ran past its limit of ${formatDuration(end.limitMs)} and was stopped`;
      const policy = facts.descriptor.retry ?? DEFAULT_RETRY;
      return policy.onTimeout
        ? retryJob(facts, { error: { type: "TimedOut", message }, reply })
        : giveUp(message, reply);
    }
    case "memory_exceeded":
      return stopped(facts, {
        type: "MemoryLimitExceeded",
        message: `Task "${task.task}" ${memoryExceededText(end)}`,
      });
    case "cancelled":
      return facts.isStopping && !(end.started && task.once)
        ? { kind: "give_back" }
        : answer({ kind: "cancelled" });
    case "isolate_died":
      // A failure like another. (Were it the node's end, it would run alone next.)
      return facts.alone
        ? diedAlone(task, end)
        : stopped(facts, { type: "IsolateDied", message: end.reason });
  }
}

/** Jobs follow the retry policy by themselves; a Celery client's request only where its task asks. */
function isJob({ isRecorded, isOurs }: ReceivedTask): boolean {
  return isRecorded && isOurs;
}

/** It ended with its isolate. */
function stopped(facts: SettlementFacts, error: TaskError): Settlement {
  const reply: Reply = { kind: "failed", error, headers: {} };
  return isJob(facts.task) ? retryJob(facts, { error, reply }) : answer(reply);
}

function diedAlone(
  task: ReceivedTask,
  { started }: Extract<AttemptEnd, { kind: "isolate_died" }>,
): Settlement {
  // A process that never got ready was not killed by this message: a set-up failed, for one.
  if (!started) return { kind: "try_again", pauseMs: NOT_READY_PAUSE_MS, headers: {} };
  const deaths = task.deaths + 1;
  return deaths >= MAX_DEATHS
    ? giveUpGuilty(deaths)
    : { kind: "try_again", pauseMs: 0, headers: { [COX.deaths]: deaths } };
}

function answer(reply: Reply): Settlement {
  return { kind: "answer", reply };
}

function giveUp(reason: string, reply: Reply): Settlement {
  return { kind: "give_up", reason, reply };
}

/** The next attempt of a recorded job, or its end among the dead letters. */
function retryJob(
  { task, descriptor, random }: SettlementFacts,
  failure: {
    readonly error: TaskError;
    /** The pause that the task asked for. */
    readonly afterMs?: number | undefined;
    readonly reply: Reply;
  },
): Settlement {
  const policy = descriptor.retry ?? DEFAULT_RETRY;
  const limit = task.retryLimit ?? policy.limit;
  const retries = Math.max(0, task.retries + 1 - task.firstAttempt);
  if (retries >= limit) {
    const { type, message } = failure.error;
    return giveUp(
      `${retries === 0 ? "Its only attempt" : `Attempt ${retries + 1} of ${limit + 1}`} failed: ` +
        `${type}: ${message}`,
      failure.reply,
    );
  }
  const pauseMs = failure.afterMs ?? jittered(pauseBefore(policy, retries), random);
  return { kind: "retry", pauseMs, error: failure.error };
}

/** Undefined where no attempt is left, or the next one would come after the request has expired. */
function nextAttempt(
  task: ReceivedTask,
  descriptor: TaskDescriptor,
  error: TaskError,
  afterMs: number | undefined,
): Settlement | undefined {
  const policy = descriptor.retry ?? DEFAULT_RETRY;
  const retries = Math.max(0, task.retries + 1 - task.firstAttempt);
  if (retries >= policy.limit) return undefined;
  const pauseMs = afterMs ?? pauseBefore(policy, retries);
  return task.isOurs
    ? { kind: "try_again", pauseMs, headers: { retries: task.retries + 1 } }
    : { kind: "retry", pauseMs, error };
}
