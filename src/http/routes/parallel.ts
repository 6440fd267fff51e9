/**
 * `POST /parallel`: many calls at once. `[{task, input, timeout, …}]` is answered with
 * `[{result} or {error}]` in the same order, each error a problem; one failure sinks no other.
 */
import type { Hono } from "hono";
import type { CallInput } from "../../calls/call.ts";
import { parseInput } from "../../calls/input.ts";
import type { Ending } from "../../calls/outcome.ts";
import { bad, type Read, readJson, readText } from "../body.ts";
import { type GivenOptions, queryOptions, readOptions } from "../call_options.ts";
import { endingProblem } from "../ending_problem.ts";
import { parseExactly } from "../../calls/exact_json.ts";
import { type AppEnv, patiently } from "../exchange.ts";
import { type Problem, problemBody, shortened } from "../problems.ts";
import { forwardedHeaders } from "../task_headers.ts";
import type { CallRoutes } from "./call.ts";

export const MAX_PARALLEL_CALLS = 1_000;
/** Of all results together; what comes after is left out. */
const MAX_RESULTS_BYTES = 64 * 2 ** 20;

/**
 * An element's members are `task`, `input` (as the body of a call) and the options of a call. The
 * query's options count for all elements that do not say otherwise, header fields for all.
 */
export function addParallelRoute(app: Hono<AppEnv>, routes: CallRoutes): void {
  const { caller, maxBodyBytes, exposeErrors, fail } = routes;

  app.post("/parallel", async (c) => {
    const request = c.req.raw;
    const common = queryOptions(request.url);
    if ("problem" in common) return fail(common.problem);
    const text = await readText(request, maxBodyBytes);
    if ("problem" in text) return fail(text.problem);
    const read = readJson(text.value, (text) => readCalls(parseExactly(text)));
    if ("problem" in read) return fail(read.problem);
    const calls = read.value;
    if ("problem" in calls) return fail(calls.problem);

    const headers = forwardedHeaders(request.headers);
    const endings = calls.value.map(({ task, input, options }) =>
      caller.call(task, input, { ...common.value, ...options, headers }, request.signal)
    );
    const answers = await patiently(c, Promise.all(answersOf(calls.value, endings, exposeErrors)));
    return new Response(`[${answers.join(",")}]`, {
      headers: { "content-type": "application/json" },
    });
  });
}

interface ParallelCall {
  readonly task: string;
  readonly input: CallInput;
  readonly options: GivenOptions;
}

/** Each element as JSON text. Counts results as they come, and drops those past the bound at once. */
function answersOf(
  calls: readonly ParallelCall[],
  endings: readonly Promise<Ending>[],
  exposeErrors: boolean,
): Promise<string>[] {
  let bytes = 0;
  return endings.map(async (pending, index) => {
    const task = calls[index]?.task ?? "";
    const ending = await pending;
    if (ending.kind !== "succeeded") return failed(endingProblem(task, ending, exposeErrors));
    bytes += ending.resultJson.length;
    return bytes > MAX_RESULTS_BYTES ? failed(tooLarge(task)) : `{"result":${ending.resultJson}}`;
  });
}

function failed(problem: Problem): string {
  return `{"error":${JSON.stringify(problemBody(problem))}}`;
}

function tooLarge(task: string): Problem {
  return {
    name: "results-too-large",
    detail: `Task "${shortened(task)}" ran, but its result does not fit: ` +
      `all results together may have ${MAX_RESULTS_BYTES} bytes`,
    members: { task },
  };
}

function readCalls(json: unknown): Read<readonly ParallelCall[]> {
  if (!Array.isArray(json)) {
    return { problem: bad("The body is not a JSON array of calls") };
  }
  if (json.length > MAX_PARALLEL_CALLS) {
    return { problem: bad(`${json.length} calls are too many: at most ${MAX_PARALLEL_CALLS}`) };
  }
  const calls: ParallelCall[] = [];
  for (const [index, element] of json.entries()) {
    const call = readCall(element);
    if ("problem" in call) {
      return { problem: bad(`Call ${index + 1}: ${call.problem.detail}`) };
    }
    calls.push(call.value);
  }
  return { value: calls };
}

function readCall(element: unknown): Read<ParallelCall> {
  if (typeof element !== "object" || element === null || Array.isArray(element)) {
    return { problem: bad('expected an object such as {"task": "math.add", "input": [1, 2]}') };
  }
  const given = new Map<string, unknown>(Object.entries(element));
  const task = given.get("task");
  if (typeof task !== "string" || task === "") {
    return { problem: bad('"task" is needed, the name of a task') };
  }
  const input = given.get("input");
  given.delete("task");
  given.delete("input");
  const options = readOptions(given);
  if ("problem" in options) return options;
  return {
    value: {
      task,
      input: parseInput(input === undefined ? "" : JSON.stringify(input)),
      options: options.value,
    },
  };
}
