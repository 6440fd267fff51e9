/** Which problem it is when a job is not accepted: a new ending fails to compile here first. */
import type { Acceptance } from "../jobs/acceptance.ts";
import type { StoreProblem } from "../jobs/job_lookup.ts";
import { unknownQueue } from "./ending_problem.ts";
import { type Problem, shortened } from "./problems.ts";

/** What did not end in a job. */
export type Refusal = Exclude<Acceptance, { readonly kind: "accepted" | "existing" }>;

export function acceptanceProblem(task: string, refusal: Refusal): Problem {
  const members = { task };
  switch (refusal.kind) {
    case "unknown_task":
      return {
        name: "unknown-task",
        detail: `No worker serves a task "${
          shortened(task)
        }", nor did one since this front started`,
        members,
      };
    case "unknown_queue":
      return unknownQueue(task, refusal.queue);
    case "conflict":
      return {
        name: "idempotency-conflict",
        detail: `The idempotency key "${shortened(refusal.key)}" was used with another request, ` +
          `for job ${refusal.id}`,
        members: { ...members, id: refusal.id },
      };
    case "no_store":
    case "store_away":
      return { ...storeProblemOf(refusal), members };
    case "broker_away":
      return { name: "broker-away", detail: refusal.message, members };
    case "too_many_underway":
      return {
        name: "too-many-jobs",
        detail: `${refusal.limit} jobs are being accepted already. This one was not`,
        members: { ...members, limit: refusal.limit },
      };
    case "refused":
      return { name: "refused", detail: refusal.message, members };
    case "outcome_unknown":
      return {
        name: "acceptance-unknown",
        detail: refusal.message,
        members: { ...members, id: refusal.id },
      };
  }
}

export function storeProblemOf({ kind, message }: StoreProblem): Problem {
  switch (kind) {
    case "no_store":
      return { name: "no-job-records", detail: message };
    case "store_away":
      return { name: "store-away", detail: message };
  }
}

export function unknownJob(id: string): Problem {
  return { name: "unknown-job", detail: `There is no job "${shortened(id)}"`, members: { id } };
}
