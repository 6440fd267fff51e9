/**
 * What the end of an attempt means for a consumed message: the failure rule of docs/messages.md, as
 * one table. Pure; message_runner.ts carries it out.
 */
import type { AttemptEnd } from "../isolates/attempt.ts";
import { memoryExceededText } from "../isolates/memory_text.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import { type ConsumerDescriptor, MAX_PAUSE_MS } from "../tasks/consumer.ts";
import { MAX_DEATHS } from "./admission.ts";
import type { Consumed } from "./consumed.ts";
import { DEFAULT_RETRY, pauseBefore } from "../jobs/retry_policy.ts";
import { NOT_READY_PAUSE_MS } from "./settlement.ts";

export type ConsumedSettlement =
  /** It was handled: ack. */
  | { readonly kind: "done" }
  /** Publish it to its queue again after a pause, then ack. */
  | {
    readonly kind: "try_again";
    readonly pauseMs: number;
    readonly failures: number;
    readonly deaths: number;
    /** What went wrong, for its history. */
    readonly failure: string;
  }
  /** Dead-letter it, then ack. */
  | { readonly kind: "give_up"; readonly reason: string; readonly failure: string }
  /** It has not failed: nack with requeue, so that another worker takes it. */
  | { readonly kind: "give_back" };

export interface ConsumedFacts {
  readonly consumed: Consumed;
  readonly descriptor: ConsumerDescriptor;
  /** The worker is stopping, which is why it was cancelled. */
  readonly isStopping: boolean;
}

export function settleConsumed(end: AttemptEnd, facts: ConsumedFacts): ConsumedSettlement {
  const { consumed } = facts;
  switch (end.kind) {
    case "returned":
      return { kind: "done" };
    case "threw": {
      const failure = `${end.error.type}: ${end.error.message}`;
      if (end.rejected) return { kind: "give_up", reason: `Rejected: ${failure}`, failure };
      return failed(failure, facts, end.retry?.afterMs);
    }
    case "timed_out":
      return failed(
        `it ran past its limit of ${formatDuration(end.limitMs)} and was killed`,
        facts,
      );
    case "memory_exceeded":
      return failed(`it ${memoryExceededText(end)}`, facts);
    case "malformed":
      return { kind: "give_up", reason: end.reason, failure: end.reason };
    case "unknown_task":
      return failed("its isolate has no such consumer", facts);
    case "cancelled":
      return facts.isStopping ? { kind: "give_back" } : failed("it was cancelled", facts);
    case "isolate_died": {
      const { failures, deaths } = consumed;
      const failure = `its isolate died: ${end.reason}`;
      // An isolate that never got ready was not killed by this message: a set-up failed, for one.
      if (!end.started) {
        return { kind: "try_again", pauseMs: NOT_READY_PAUSE_MS, failures, deaths, failure };
      }
      return deaths + 1 >= MAX_DEATHS
        ? { kind: "give_up", reason: `${deaths + 1} isolates that handled it have died`, failure }
        : { kind: "try_again", pauseMs: 0, failures, deaths: deaths + 1, failure };
    }
  }
}

/** The failure rule: another attempt after a growing pause, or after the last one a dead letter. */
function failed(
  failure: string,
  { consumed: { failures, deaths }, descriptor }: ConsumedFacts,
  afterMs?: number,
): ConsumedSettlement {
  const policy = descriptor.retry ?? DEFAULT_RETRY;
  if (failures >= policy.limit) {
    const attempts = failures + 1;
    const reason = `${attempts} ${attempts === 1 ? "attempt" : "attempts"} failed, the last: ` +
      failure;
    return { kind: "give_up", reason, failure };
  }
  const pauseMs = Math.min(afterMs ?? pauseBefore(policy, failures), MAX_PAUSE_MS);
  return { kind: "try_again", pauseMs, failures: failures + 1, deaths, failure };
}
