/** What the routes share that change jobs, dead letters and schedules. */
import { NO_STORE } from "../jobs/job_lookup.ts";
import type { JobOperations, RetryEnding } from "../jobs/operations.ts";
import { orOutage, type Outage } from "../jobs/outage.ts";
import { storeProblemOf, unknownJob } from "./acceptance_problem.ts";
import type { Read } from "./body.ts";
import { type JobFormat, jobJson } from "./job_format.ts";
import type { Problem } from "./problems.ts";

/** Does something with jobs; where this node keeps none, or the store or broker is away, says so. */
export async function operate<T>(
  operations: JobOperations | undefined,
  act: (operations: JobOperations) => Promise<T>,
): Promise<Read<T>> {
  if (operations === undefined) return { problem: storeProblemOf(NO_STORE) };
  const done = await orOutage(act(operations));
  return "outage" in done ? { problem: outageProblem(done.outage) } : done;
}

export function outageProblem(outage: Outage): Problem {
  switch (outage.kind) {
    case "no_store":
    case "store_away":
      return storeProblemOf(outage);
    case "broker_away":
      return { name: "broker-away", detail: outage.message };
  }
}

/** The answer to a job that is to be tried again. */
export function retryAnswer(ending: RetryEnding, format: JobFormat): Read<Response> {
  switch (ending.kind) {
    case "retried":
      return { value: accepted(jobJson(ending.job, format), ending.job.id) };
    case "sent_back":
      return { value: accepted(JSON.stringify({ id: ending.id, queue: ending.queue })) };
    case "not_finished":
      return {
        problem: {
          name: "job-not-finished",
          detail: `Job ${ending.job.id} is ${ending.job.state}: only one that has ended ` +
            "can be tried again",
          members: { id: ending.job.id, state: ending.job.state },
        },
      };
    case "refused":
      return {
        problem: { name: "not-retryable", detail: ending.reason, members: { id: ending.id } },
      };
    case "unknown_job":
      return { problem: unknownJob(ending.id) };
  }
}

/** 202, with where the job is. */
export function accepted(json: string, id?: string): Response {
  return new Response(json, {
    status: 202,
    headers: {
      "content-type": "application/json",
      ...(id === undefined ? {} : { location: `/jobs/${encodeURIComponent(id)}` }),
    },
  });
}
