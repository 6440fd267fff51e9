/** `POST /tasks/{task}/jobs` and `POST /jobs`: work that is answered at once and done later. */
import type { Context, Hono } from "hono";
import type { Acceptance, JobAcceptor } from "../../jobs/acceptance.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { acceptanceProblem } from "../acceptance_problem.ts";
import { bad, type Read, readInput, readJson, readText } from "../body.ts";
import { parseExactly } from "../../calls/exact_json.ts";
import { type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import { MAX_JOBS, readJobElement, readJobRequest } from "../job_requests.ts";
import { type Problem, problemBody } from "../problems.ts";
import { readQuery } from "../query.ts";
import { forwardedHeaders } from "../task_headers.ts";

export interface AcceptRoutes {
  readonly acceptor: JobAcceptor;
  readonly maxBodyBytes: number;
  readonly fail: Fail;
  readonly clock: Clock;
}

const PREFIX = "/tasks/";
const SUFFIX = "/jobs";
const KEY_FIELD = "idempotency-key";

/**
 * Query: `delay` or `eta`, `expires`, `priority`, `retries`, `timeout`, `queue`, `unique`; header field
 * `Idempotency-Key`. Answered 202 with `Location: /jobs/{id}` once the job is durable. `POST /jobs`
 * takes an array of `{task, input, …options, idempotencyKey}` and answers with an array in the same
 * order, each the job or `{error}` with a problem; options in its query count for all.
 */
export function addAcceptRoutes(app: Hono<AppEnv>, routes: AcceptRoutes): void {
  const { acceptor, maxBodyBytes, fail, clock } = routes;

  app.post("/tasks/:task/jobs", async (c) => {
    const request = c.req.raw;
    const task = segment(c.req.path.slice(PREFIX.length, -SUFFIX.length));
    if ("problem" in task) return fail(task.problem);
    const given = readQuery(request.url);
    if ("problem" in given) return fail(given.problem);
    const text = await readText(request, maxBodyBytes);
    if ("problem" in text) return fail(text.problem);
    const input = readInput(text.value);
    if ("problem" in input) return fail(input.problem);
    const read = readJobRequest({
      task: task.value,
      input: input.value,
      given: given.value,
      headers: forwardedHeaders(request.headers),
      ...keyOf(request),
    }, clock.now());
    if ("problem" in read) return fail(read.problem);

    const acceptance = await patiently(c, acceptor.accept(read.value));
    const told = answerOf(task.value, acceptance);
    return "problem" in told ? fail(told.problem) : new Response(JSON.stringify(told.value), {
      status: 202,
      headers: {
        "content-type": "application/json",
        location: `/jobs/${encodeURIComponent(told.value.id)}`,
      },
    });
  });

  const acceptMany = async (c: Context<AppEnv>): Promise<Response> => {
    const request = c.req.raw;
    const given = readQuery(request.url);
    if ("problem" in given) return fail(given.problem);
    const text = await readText(request, maxBodyBytes);
    if ("problem" in text) return fail(text.problem);
    const json = readJson(text.value, parseExactly);
    if ("problem" in json) return fail(json.problem);
    const elements: unknown = json.value;
    if (!Array.isArray(elements)) return fail(bad("The body is not a JSON array of jobs"));
    if (elements.length > MAX_JOBS) {
      return fail(bad(`${elements.length} jobs are too many: at most ${MAX_JOBS}`));
    }
    const common = {
      given: given.value,
      headers: forwardedHeaders(request.headers),
      ...keyOf(request),
    };
    const now = clock.now();
    const answers = await patiently(
      c,
      Promise.all(elements.map(async (element: unknown, index): Promise<Answer> => {
        const read = readJobElement(element, index, common, now);
        if ("problem" in read) return read;
        return answerOf(read.value.task, await acceptor.accept(read.value));
      })),
    );
    const problem = commonProblem(answers);
    if (problem !== undefined) return fail(problem);
    return Response.json(
      answers.map((told) => "problem" in told ? { error: problemBody(told.problem) } : told.value),
      { status: 202 },
    );
  };
  app.post("/jobs", acceptMany);
}

interface Told {
  readonly id: string;
  readonly task: string;
  readonly state?: "queued" | "scheduled";
  readonly createdAt?: string;
  /** It was there before. */
  readonly existing?: "idempotency" | "unique";
}

type Answer = Read<Told>;

function answerOf(task: string, acceptance: Acceptance): Answer {
  switch (acceptance.kind) {
    case "accepted": {
      const { id, isDelayed, createdAt } = acceptance;
      const state = isDelayed ? "scheduled" : "queued";
      return { value: { id, task, state, createdAt: new Date(createdAt).toISOString() } };
    }
    case "existing":
      return { value: { id: acceptance.id, task, existing: acceptance.by } };
    default:
      return { problem: acceptanceProblem(task, acceptance) };
  }
}

/** Where not one could be accepted because this front cannot, the whole request is answered so. */
function commonProblem(answers: readonly Answer[]): Problem | undefined {
  const [first] = answers;
  if (first === undefined || !("problem" in first)) return undefined;
  const { name } = first.problem;
  const isOurs = name === "broker-away" || name === "store-away" || name === "no-job-records";
  return isOurs && answers.every((told) => "problem" in told && told.problem.name === name)
    ? first.problem
    : undefined;
}

function keyOf({ headers }: Request): { readonly key?: string } {
  const key = headers.get(KEY_FIELD);
  return key === null ? {} : { key };
}
