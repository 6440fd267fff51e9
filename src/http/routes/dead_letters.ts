/** `/dead-letters`: jobs that were given up, with their stories; tried again or thrown away. */
import type { Context, Hono } from "hono";
import type { Job } from "../../jobs/job.ts";
import type { JobOperations } from "../../jobs/operations.ts";
import type { Store } from "../../store/store.ts";
import type { Read } from "../body.ts";
import { type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import { type JobFormat, jobJson } from "../job_format.ts";
import { listJobs, readPageQuery } from "../job_pages.ts";
import { operate, retryAnswer } from "../operate.ts";
import { type Problem, shortened } from "../problems.ts";
import { jsonResponse } from "./jobs.ts";

export interface DeadLetterRoutes {
  /** Absent, both: this node keeps no records. */
  readonly store?: Store;
  readonly operations?: JobOperations;
  readonly format: JobFormat;
  readonly fail: Fail;
}

const PATH = "/dead-letters";

/**
 * `GET /dead-letters?task=&limit=&cursor=` and `GET /dead-letters/{id}`: jobs with their attempts and
 * why they were given up. `POST /dead-letters/{id}/retry`, and `POST /dead-letters/retry?task=` for
 * many (10,000 at most): `{retried, refused: [{id, reason}]}`. `DELETE /dead-letters/{id}`, and
 * `DELETE /dead-letters?task=` for many: `{deleted}`.
 */
export function addDeadLetterRoutes(app: Hono<AppEnv>, routes: DeadLetterRoutes): void {
  const { store, operations, format, fail } = routes;

  const find = async (id: string): Promise<Read<Job>> => {
    const found = await operate(operations, async () => await store?.get(id));
    if ("problem" in found) return found;
    return found.value?.deadLetter === undefined
      ? { problem: unknownLetter(id) }
      : { value: found.value };
  };

  app.get(PATH, async (c) => {
    const query = readPageQuery(c.req.raw.url, ["task", "limit", "cursor"]);
    if ("problem" in query) return fail(query.problem);
    const page = listJobs(store, { path: PATH, query: query.value, isDeadLetter: true, format });
    const read = await patiently(c, page);
    return "problem" in read ? fail(read.problem) : read.value;
  });

  app.get(`${PATH}/:id`, async (c) => {
    const id = letterId(c);
    if ("problem" in id) return fail(id.problem);
    const letter = await patiently(c, find(id.value));
    return "problem" in letter ? fail(letter.problem) : jsonResponse(jobJson(letter.value, format));
  });

  app.post(`${PATH}/retry`, async (c) => {
    const task = readTask(c);
    if ("problem" in task) return fail(task.problem);
    const done = operate(operations, (jobs) => jobs.retryDeadLetters(task.value));
    const read = await patiently(c, done);
    return "problem" in read ? fail(read.problem) : Response.json(read.value);
  });

  app.post(`${PATH}/:id/retry`, async (c) => {
    const id = letterId(c, "/retry");
    if ("problem" in id) return fail(id.problem);
    const letter = await patiently(c, find(id.value));
    if ("problem" in letter) return fail(letter.problem);
    const done = await patiently(c, operate(operations, (jobs) => jobs.retry(id.value)));
    if ("problem" in done) return fail(done.problem);
    const told = retryAnswer(done.value, format);
    return "problem" in told ? fail(told.problem) : told.value;
  });

  app.delete(PATH, async (c) => {
    const task = readTask(c);
    if ("problem" in task) return fail(task.problem);
    const done = operate(operations, (jobs) => jobs.purgeDeadLetters(task.value));
    const read = await patiently(c, done);
    return "problem" in read ? fail(read.problem) : Response.json({ deleted: read.value });
  });

  app.delete(`${PATH}/:id`, async (c) => {
    const id = letterId(c);
    if ("problem" in id) return fail(id.problem);
    const letter = await patiently(c, find(id.value));
    if ("problem" in letter) return fail(letter.problem);
    const done = await patiently(c, operate(operations, (jobs) => jobs.delete(id.value)));
    if ("problem" in done) return fail(done.problem);
    return done.value ? Response.json({ deleted: 1 }) : fail(unknownLetter(id.value));
  });
}

function letterId(c: Context<AppEnv>, suffix = ""): Read<string> {
  const { path } = c.req;
  return segment(path.slice(PATH.length + 1, path.length - suffix.length));
}

function readTask(c: Context<AppEnv>): Read<{ readonly task?: string }> {
  const query = readPageQuery(c.req.raw.url, ["task"]);
  if ("problem" in query) return query;
  const { task } = query.value;
  return { value: task === undefined ? {} : { task } };
}

function unknownLetter(id: string): Problem {
  return {
    name: "unknown-dead-letter",
    detail: `There is no dead letter "${shortened(id)}"`,
    members: { id },
  };
}
