/**
 * What the end of an attempt means for its message: the one table from endings to settlements. Pure;
 * executor.ts carries it out.
 */
import type { Reply } from "../calls/wire/reply_message.ts";
import type { ReceivedTask } from "../calls/wire/task_message.ts";
import { COX } from "../calls/wire/names.ts";
import type { AttemptEnd } from "../isolates/attempt.ts";
import type { RetryPolicy, TaskDescriptor } from "../tasks/descriptor.ts";
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
  /** Dead-letter it, tell the sender, then ack. */
  | { readonly kind: "give_up"; readonly reason: string; readonly reply: Reply }
  /** Nack with requeue: it runs elsewhere. */
  | { readonly kind: "give_back" };

export interface SettlementFacts {
  readonly task: ReceivedTask;
  readonly descriptor: TaskDescriptor;
  /** It ran alone in a process of its own, because it came back redelivered. */
  readonly alone: boolean;
  /** This worker is stopping, which is why it was cancelled. */
  readonly isStopping: boolean;
}

/** What `throw new Retry()` does where the task has no policy; a consumer's failures follow it too. */
export const DEFAULT_RETRY: RetryPolicy = {
  limit: 3,
  backoff: "exponential",
  baseMs: 1_000,
  capMs: 300_000,
};

/** Pause after a process could not be made ready for a message. */
export const NOT_READY_PAUSE_MS = 1_000;

export function settle(end: AttemptEnd, facts: SettlementFacts): Settlement {
  const { task } = facts;
  switch (end.kind) {
    case "returned":
      return answer({ kind: "succeeded", resultJson: end.resultJson, headers: end.headers });
    case "threw": {
      const again = end.retry && nextAttempt(task, facts.descriptor, end.retry.afterMs);
      return again ?? answer({ kind: "failed", error: end.error, headers: end.headers });
    }
    case "malformed":
      return {
        kind: "give_up",
        reason: end.reason,
        reply: { kind: "refused", message: end.reason },
      };
    case "unknown_task":
      return answer({
        kind: "failed",
        error: { type: "NotRegistered", message: `This worker has no task "${task.task}"` },
        headers: {},
      });
    case "timed_out":
      return answer({ kind: "timed_out", limitMs: end.limitMs });
    case "cancelled":
      return facts.isStopping && !(end.started && task.once)
        ? { kind: "give_back" }
        : answer({ kind: "cancelled" });
    case "isolate_died": {
      if (!facts.alone) {
        return answer({
          kind: "failed",
          error: { type: "IsolateDied", message: end.reason },
          headers: {},
        });
      }
      // A process that never got ready was not killed by this message: a set-up failed, for one.
      if (!end.started) return { kind: "try_again", pauseMs: NOT_READY_PAUSE_MS, headers: {} };
      const deaths = task.deaths + 1;
      return deaths >= MAX_DEATHS
        ? giveUpGuilty(deaths)
        : { kind: "try_again", pauseMs: 0, headers: { [COX.deaths]: deaths } };
    }
  }
}

function answer(reply: Reply): Settlement {
  return { kind: "answer", reply };
}

/** Undefined where no attempt is left, or the next one would come after the request has expired. */
function nextAttempt(
  task: ReceivedTask,
  descriptor: TaskDescriptor,
  afterMs: number | undefined,
): Settlement | undefined {
  const policy = descriptor.retry ?? DEFAULT_RETRY;
  if (task.retries >= policy.limit) return undefined;
  const pauseMs = afterMs ?? pauseBefore(policy, task.retries);
  return { kind: "try_again", pauseMs, headers: { retries: task.retries + 1 } };
}

/** The policy's pause after so many retries, in milliseconds. */
export function pauseBefore({ backoff, baseMs, capMs }: RetryPolicy, retries: number): number {
  // 2^30 times anything is past any cap, and the power stays finite.
  const growth = backoff === "exponential" ? 2 ** Math.min(retries, 30) : 1;
  return Math.min(baseMs * growth, capMs);
}
