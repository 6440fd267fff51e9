/**
 * May this request run here and now? Pure: a received request and a few facts become one decision.
 * What the decision does is executor.ts.
 */
import type { ReceivedTask } from "../calls/wire/task_message.ts";
import type { Reply } from "../calls/wire/reply_message.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";

/** Processes that one message may take with it before it is given up. */
export const MAX_DEATHS = 3;
/** How often a message may be given on where no live worker announces its task. */
export const MAX_HOPS = 10;
/** The same where one does, or where a Celery worker has it: workers that lack it may draw it again and again by chance. */
const MAX_HOPS_WHERE_SERVED = 200;
/** Room for clocks that differ: the caller's own clock is what its answer depends on. */
const CLOCK_SKEW_MS = 2_000;
const HOP_PAUSE_MS = 10;
const HOP_PAUSE_CAP_MS = 1_000;

export interface AdmissionFacts {
  /** Epoch milliseconds. */
  readonly now: number;
  readonly redelivered: boolean;
  readonly isRevoked: boolean;
  /** The task as this worker has it. */
  readonly descriptor: TaskDescriptor | undefined;
  /** Another live worker announces the task on this queue. */
  readonly isServedElsewhere: boolean;
  /** A worker that is none of ours has the task, perhaps on this queue. */
  readonly hasStranger: boolean;
}

export type Admission =
  | { readonly kind: "run"; readonly descriptor: TaskDescriptor }
  /** Not before its eta. */
  | { readonly kind: "wait"; readonly waitMs: number }
  /** It will not run; its sender is told, and the message is done with. */
  | { readonly kind: "refuse"; readonly reply: Reply }
  /** Published again for a worker that has the task, after a pause. */
  | { readonly kind: "give_on"; readonly pauseMs: number; readonly hops: number }
  /** Dead-lettered with the reason, and its sender is told. */
  | { readonly kind: "give_up"; readonly reason: string; readonly reply: Reply };

/** Decides by the first rule that applies, in the order of the lines. */
export function admit(task: ReceivedTask, facts: AdmissionFacts): Admission {
  if (facts.isRevoked) return { kind: "refuse", reply: { kind: "cancelled" } };
  if (isExpired(task, facts)) {
    return { kind: "refuse", reply: { kind: "expired" } };
  }
  if (facts.descriptor === undefined) return giveOn(task, facts);
  if (task.deaths >= MAX_DEATHS) return giveUpGuilty(task.deaths);
  if (facts.redelivered && task.once) {
    return {
      kind: "refuse",
      reply: {
        kind: "worker_lost",
        message: "The worker that took the call was lost, and the call must not run twice",
      },
    };
  }
  if (task.etaAt !== undefined && task.etaAt > facts.now) {
    return { kind: "wait", waitMs: task.etaAt - facts.now };
  }
  return { kind: "run", descriptor: facts.descriptor };
}

/** What comes back was taken in time once: it runs again, or its sender could never be told. */
function isExpired(task: ReceivedTask, { now, redelivered }: AdmissionFacts): boolean {
  if (task.expiresAt === undefined || redelivered || task.deaths > 0 || task.again) return false;
  return now > task.expiresAt + CLOCK_SKEW_MS;
}

/** A message that every process it met has died by. */
export function giveUpGuilty(deaths: number): Extract<Admission, { kind: "give_up" }> {
  const message = `${deaths} processes that ran it, each alone, have died by it`;
  return { kind: "give_up", reason: message, reply: { kind: "worker_lost", message } };
}

function giveOn(
  { task, hops }: ReceivedTask,
  { isServedElsewhere, hasStranger }: AdmissionFacts,
): Admission {
  if (hops >= (isServedElsewhere || hasStranger ? MAX_HOPS_WHERE_SERVED : MAX_HOPS)) {
    const message = `No worker of this queue has the task "${task}": it was given on ${hops} times`;
    return {
      kind: "give_up",
      reason: message,
      reply: { kind: "failed", error: { type: "NotRegistered", message }, headers: {} },
    };
  }
  const pauseMs = Math.min(HOP_PAUSE_MS * 2 ** Math.min(hops, 10), HOP_PAUSE_CAP_MS);
  // Where the task is served the pause stays short: chance alone decides who draws it.
  return { kind: "give_on", hops: hops + 1, pauseMs: isServedElsewhere ? HOP_PAUSE_MS : pauseMs };
}
