/** Requests for jobs, as clients write them: one in a path, a query and a body, or many in an array. */
import { type CallInput } from "../calls/call.ts";
import { parseInput } from "../calls/input.ts";
import type { EnqueueRequest } from "../jobs/acceptance.ts";
import { fingerprintOf } from "../jobs/idempotency.ts";
import { readJobOptions } from "../jobs/job_options.ts";
import { bad, type Read } from "./body.ts";
import { shortened } from "./problems.ts";

export const MAX_JOBS = 1_000;
const MAX_KEY_LENGTH = 255;
/** Of an element of many, where a single request has the header field `Idempotency-Key`. */
const KEY_MEMBER = "idempotencyKey";

/** What a request is made of. */
export interface JobParts {
  readonly task: string;
  readonly input: CallInput;
  /** Options by name, as they were given. */
  readonly given: ReadonlyMap<string, unknown>;
  readonly headers: Readonly<Record<string, string>>;
  readonly key?: string;
}

/** @param now epoch milliseconds. */
export function readJobRequest(parts: JobParts, now: number): Read<EnqueueRequest> {
  const { task, input, given, headers, key } = parts;
  const options = readJobOptions(given, now);
  if ("problem" in options) return { problem: bad(options.problem) };
  if (key !== undefined && (key === "" || key.length > MAX_KEY_LENGTH || key.includes("\0"))) {
    return {
      problem: bad(
        `The idempotency key is "${shortened(key)}": ` +
          `expected a text of 1 to ${MAX_KEY_LENGTH} characters`,
      ),
    };
  }
  return {
    value: {
      task,
      input,
      options: options.value,
      headers,
      ...(key === undefined
        ? {}
        : { idempotency: { key, fingerprint: fingerprintOf(task, input, given) } }),
    },
  };
}

/** What all elements of an array have in common. */
export interface CommonParts {
  readonly given: ReadonlyMap<string, unknown>;
  readonly headers: Readonly<Record<string, string>>;
  /** The array's own key: each element's is made of it, with its place. */
  readonly key?: string;
}

/**
 * One element: `{task, input, …options, idempotencyKey}`. Its own options go before the common ones.
 * @param index from 0 on.
 */
export function readJobElement(
  element: unknown,
  index: number,
  common: CommonParts,
  now: number,
): Read<EnqueueRequest> {
  if (typeof element !== "object" || element === null || Array.isArray(element)) {
    return { problem: bad('Expected an object such as {"task": "math.add", "input": [1, 2]}') };
  }
  const own = new Map<string, unknown>(Object.entries(element));
  const task = own.get("task");
  const input = own.get("input");
  const key = own.get(KEY_MEMBER);
  for (const name of ["task", "input", KEY_MEMBER]) own.delete(name);
  if (typeof task !== "string" || task === "") {
    return { problem: bad('"task" is needed, the name of a task') };
  }
  if (key !== undefined && typeof key !== "string") {
    return { problem: bad(`"${KEY_MEMBER}" must be a text`) };
  }
  const ofAll = common.key === undefined ? undefined : `${common.key}#${index}`;
  const chosen = key ?? ofAll;
  return readJobRequest({
    task,
    input: parseInput(input === undefined ? "" : JSON.stringify(input)),
    given: new Map([...common.given, ...own]),
    headers: common.headers,
    ...(chosen === undefined ? {} : { key: chosen }),
  }, now);
}
