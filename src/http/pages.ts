/** What lists have in common: options of their queries, pages, the link to the next one. */
import * as v from "valibot";
import { storeProblem } from "../jobs/job_lookup.ts";
import { BadCursorError } from "../store/store.ts";
import { storeProblemOf } from "./acceptance_problem.ts";
import { bad, type Read } from "./body.ts";
import { type Problem, shortened } from "./problems.ts";
import { readQuery } from "./query.ts";

const MAX_LIMIT = 1_000;
const DEFAULT_LIMIT = 100;
const MAX_TEXT_LENGTH = 1_000;

const LIMIT = `expected a whole number from 1 to ${MAX_LIMIT}`;
const TEXT = `expected a text of 1 to ${MAX_TEXT_LENGTH} characters`;

export const OptionText = v.pipe(
  v.string(),
  v.minLength(1, TEXT),
  v.maxLength(MAX_TEXT_LENGTH, TEXT),
);

/** `?limit=&cursor=`. */
export const PAGE_ENTRIES = {
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,4}$/, LIMIT),
      v.transform(Number),
      v.minValue(1, LIMIT),
      v.maxValue(MAX_LIMIT, LIMIT),
    ),
    `${DEFAULT_LIMIT}`,
  ),
  cursor: v.exactOptional(OptionText),
} as const;

/**
 * The options of a URL, as a schema reads them.
 * @param names of those that may be given.
 * @param lists names that may be given again.
 */
export function readOptions<S extends v.GenericSchema>(
  schema: S,
  url: string,
  names: readonly string[],
  lists: readonly string[] = [],
): Read<v.InferOutput<S>> {
  const query = readQuery(url, names, lists);
  if ("problem" in query) return query;
  const parsed = v.safeParse(schema, Object.fromEntries(query.value));
  if (parsed.success) return { value: parsed.output };
  const [issue] = parsed.issues;
  const name = (v.getDotPath(issue) ?? "").split(".")[0] ?? "";
  const value = shortened(query.value.get(name) ?? "");
  return { problem: bad(`Option "${name}" is "${value}": ${issue.message}`) };
}

/**
 * A page of a list, with `Link: rel="next"` where there is a further one.
 * @param next the query of the next page.
 */
export function pageResponse(
  json: string,
  path: string,
  next: URLSearchParams | undefined,
): Response {
  return new Response(json, {
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store",
      ...(next === undefined ? {} : { link: `<${path}?${next}>; rel="next"` }),
    },
  });
}

/** Why a page of the store cannot be had; what is no problem of a client's is thrown on. */
export function pageProblem(error: unknown): Problem {
  if (error instanceof BadCursorError) {
    return bad('Option "cursor" is none that this front has given: begin anew');
  }
  const problem = storeProblem(error);
  if (problem === undefined) throw error;
  return storeProblemOf(problem);
}
