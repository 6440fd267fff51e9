/** `/jobs`: records of jobs, one or many. */
import type { Context, Hono } from "hono";
import * as v from "valibot";
import { Duration } from "../../calls/option_values.ts";
import type { JobLookup } from "../../jobs/job_lookup.ts";
import { type Waited, waitForEnd } from "../../jobs/job_wait.ts";
import type { JobWatcher } from "../../jobs/watch.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { storeProblemOf, unknownJob } from "../acceptance_problem.ts";
import { bad, type Read } from "../body.ts";
import { type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import type { Store } from "../../store/store.ts";
import { type JobFormat, jobJson } from "../job_format.ts";
import { listJobs, readPageQuery } from "../job_pages.ts";
import type { Problem } from "../problems.ts";
import { shortened } from "../problems.ts";
import { readQuery } from "../query.ts";

export interface JobRoutes {
  /** Absent: this node keeps no records. */
  readonly store?: Store;
  readonly lookup: Pick<JobLookup, "find">;
  readonly watcher: Pick<JobWatcher, "watch">;
  readonly format: JobFormat;
  readonly fail: Fail;
  readonly clock: Clock;
}

const PREFIX = "/jobs/";
const MAX_WAIT_MS = 5 * 60_000;
const WAIT = "expected a duration up to 5m, such as 30s, or 0s";
/** Ids travel in routing keys. */
const MAX_ID_LENGTH = 200;

const Wait = v.union([
  v.pipe(v.picklist(["0", "0s", "0ms"]), v.transform(() => 0)),
  v.pipe(Duration, v.maxValue(MAX_WAIT_MS, WAIT)),
], WAIT);

/**
 * `GET /jobs?state=&task=&limit=&cursor=`: the youngest first, without inputs and results.
 * `GET /jobs/{id}?wait=30s`: answered when the job has ended, or as it is when the wait is over.
 */
export function addJobRoutes(app: Hono<AppEnv>, routes: JobRoutes): void {
  const { store, lookup, watcher, format, fail, clock } = routes;

  app.get("/jobs", async (c) => {
    const query = readPageQuery(c.req.raw.url);
    if ("problem" in query) return fail(query.problem);
    const page = await patiently(
      c,
      listJobs(store, { path: "/jobs", query: query.value, format }),
    );
    return "problem" in page ? fail(page.problem) : page.value;
  });

  app.get("/jobs/:id", async (c) => {
    const id = jobId(c);
    if ("problem" in id) return fail(id.problem);
    const wait = readWait(c.req.raw.url);
    if ("problem" in wait) return fail(wait.problem);
    const waited = await patiently(
      c,
      waitForEnd(id.value, wait.value, { lookup, watcher, clock }, c.req.raw.signal),
    );
    return waited.kind === "found"
      ? jsonResponse(jobJson(waited.job, format))
      : fail(lookupProblem(waited));
  });
}

/** The id in a path that begins with `/jobs/`. @param suffix what follows it. */
export function jobId(c: Context<AppEnv>, suffix = ""): Read<string> {
  const { path } = c.req;
  const id = segment(path.slice(PREFIX.length, path.length - suffix.length));
  if ("problem" in id) return id;
  return id.value.length > MAX_ID_LENGTH ? { problem: unknownJob(id.value) } : id;
}

export function jsonResponse(json: string, headers: Record<string, string> = {}): Response {
  return new Response(json, {
    headers: { ...headers, "content-type": "application/json", "cache-control": "no-store" },
  });
}

export function lookupProblem(problem: Exclude<Waited, { kind: "found" }>): Problem {
  switch (problem.kind) {
    case "unknown_job":
      return unknownJob(problem.id);
    case "no_store":
    case "store_away":
      return storeProblemOf(problem);
    case "too_many_watches":
      return {
        name: "too-many-subscribers",
        detail: `This front watches ${problem.limit} jobs already`,
      };
  }
}

function readWait(url: string): Read<number> {
  const query = readQuery(url, ["wait"]);
  if ("problem" in query) return query;
  const given = query.value.get("wait");
  if (given === undefined) return { value: 0 };
  const read = v.safeParse(Wait, given);
  if (read.success) return { value: read.output };
  return { problem: bad(`Option "wait" is "${shortened(given)}": ${WAIT}`) };
}
