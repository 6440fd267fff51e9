/** `POST /tasks/{task}/call`: the body is the input, the answer the result as the worker wrote it. */
import { getLogger } from "@logtape/logtape";
import type { Hono } from "hono";
import type { Caller } from "../../calls/call.ts";
import type { Ending } from "../../calls/outcome.ts";
import { readInput, readText } from "../body.ts";
import { queryOptions } from "../call_options.ts";
import { endingProblem } from "../ending_problem.ts";
import { type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import { forwardedHeaders, resultHeaders } from "../task_headers.ts";

const log = getLogger(["coxswain", "http"]);

export interface CallRoutes {
  readonly caller: Caller;
  readonly maxBodyBytes: number;
  readonly exposeErrors: boolean;
  readonly fail: Fail;
}

const PREFIX = "/tasks/";
const SUFFIX = "/call";
const JSON_RESPONSE = { headers: { "content-type": "application/json" } };

/**
 * Query: `timeout` and `expires` (durations such as `500ms`, `3s`, `2m`), `priority` (0 to 10),
 * `queue`, `persistent`, `once`. A client that goes away cancels its call.
 */
export function addCallRoute(app: Hono<AppEnv>, routes: CallRoutes): void {
  const { caller, maxBodyBytes, exposeErrors, fail } = routes;

  app.post("/tasks/:task/call", async (c) => {
    const request = c.req.raw;
    const task = segment(c.req.path.slice(PREFIX.length, -SUFFIX.length));
    if ("problem" in task) return fail(task.problem);
    const options = queryOptions(request.url);
    if ("problem" in options) return fail(options.problem);
    const text = await readText(request, maxBodyBytes);
    if ("problem" in text) return fail(text.problem);
    const input = readInput(text.value);
    if ("problem" in input) return fail(input.problem);

    const headers = forwardedHeaders(request.headers);
    const ending = await patiently(
      c,
      caller.call(task.value, input.value, { ...options.value, headers }, request.signal),
    );
    return ending.kind === "succeeded"
      ? resultResponse(task.value, ending)
      : fail(endingProblem(task.value, ending, exposeErrors));
  });
}

function resultResponse(
  task: string,
  { resultJson, headers }: Extract<Ending, { kind: "succeeded" }>,
): Response {
  const given = Object.keys(headers).length;
  if (given === 0) return new Response(resultJson, JSON_RESPONSE);
  const sent = resultHeaders(headers);
  const missing = given - Object.keys(sent).length;
  if (missing > 0) {
    log.debug("Left out header fields that a task may not send", { task, headers, missing });
  }
  return new Response(resultJson, { headers: { ...sent, ...JSON_RESPONSE.headers } });
}
