/** `DELETE /jobs/{id}` cancels a job, `POST /jobs/{id}/retry` tries a finished one again. */
import type { Hono } from "hono";
import type { CancelEnding, JobOperations } from "../../jobs/operations.ts";
import { unknownJob } from "../acceptance_problem.ts";
import type { Read } from "../body.ts";
import { type AppEnv, type Fail, patiently } from "../exchange.ts";
import { type JobFormat, jobJson } from "../job_format.ts";
import { operate, retryAnswer } from "../operate.ts";
import { jobId } from "./jobs.ts";

export interface JobChangeRoutes {
  /** Absent: this node keeps no records. */
  readonly operations?: JobOperations;
  readonly format: JobFormat;
  readonly fail: Fail;
}

/**
 * A cancelled job is answered with the job and what was done, in `did`: "cancelled", it will not run;
 * "stopping" (202), it runs and is being stopped; "nothing", it had ended before.
 */
export function addJobChangeRoutes(app: Hono<AppEnv>, routes: JobChangeRoutes): void {
  const { operations, format, fail } = routes;

  app.delete("/jobs/:id", async (c) => {
    const id = jobId(c);
    if ("problem" in id) return fail(id.problem);
    const done = await patiently(c, operate(operations, (jobs) => jobs.cancel(id.value)));
    if ("problem" in done) return fail(done.problem);
    const told = cancelAnswer(done.value, format);
    return "problem" in told ? fail(told.problem) : told.value;
  });

  app.post("/jobs/:id/retry", async (c) => {
    const id = jobId(c, "/retry");
    if ("problem" in id) return fail(id.problem);
    const done = await patiently(c, operate(operations, (jobs) => jobs.retry(id.value)));
    if ("problem" in done) return fail(done.problem);
    const told = retryAnswer(done.value, format);
    return "problem" in told ? fail(told.problem) : told.value;
  });
}

function cancelAnswer(ending: CancelEnding, format: JobFormat): Read<Response> {
  const tell = (did: string, status: number, job: Parameters<typeof jobJson>[0]) => ({
    value: new Response(`{"did":"${did}",${jobJson(job, format).slice(1)}`, {
      status,
      headers: { "content-type": "application/json" },
    }),
  });
  switch (ending.kind) {
    case "cancelled":
      return tell("cancelled", 200, ending.job);
    case "stopping":
      return tell("stopping", 202, ending.job);
    case "finished":
      return tell("nothing", 200, ending.job);
    case "unknown_job":
      return { problem: unknownJob(ending.id) };
  }
}
