/** Lists of jobs, page by page: `?state=&task=&limit=&cursor=`, and the link to the next page. */
import * as v from "valibot";
import { NO_STORE, storeProblem } from "../jobs/job_lookup.ts";
import { JOB_STATES, type JobState } from "../jobs/job.ts";
import { BadCursorError, type JobFilter, type Store } from "../store/store.ts";
import { storeProblemOf } from "./acceptance_problem.ts";
import { bad, type Read } from "./body.ts";
import { type JobFormat, jobJson } from "./job_format.ts";
import { shortened } from "./problems.ts";
import { readQuery } from "./query.ts";

const MAX_LIMIT = 1_000;
const DEFAULT_LIMIT = 100;
const MAX_TEXT_LENGTH = 1_000;

const LIMIT = `expected a whole number from 1 to ${MAX_LIMIT}`;
const STATE = `expected states with commas between them, of ${JOB_STATES.join(", ")}`;
const TEXT = `expected a text of 1 to ${MAX_TEXT_LENGTH} characters`;

const Text = v.pipe(v.string(), v.minLength(1, TEXT), v.maxLength(MAX_TEXT_LENGTH, TEXT));

const Query = v.object({
  state: v.exactOptional(v.pipe(
    v.string(),
    v.transform((text) => text.split(",")),
    v.array(v.picklist(JOB_STATES, STATE)),
  )),
  task: v.exactOptional(Text),
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
  cursor: v.exactOptional(Text),
});

export interface PageQuery {
  readonly states: readonly JobState[];
  readonly task?: string;
  readonly limit: number;
  readonly cursor?: string;
}

/** @param names of options that this list has; all by default. */
export function readPageQuery(
  url: string,
  names: readonly string[] = Object.keys(Query.entries),
): Read<PageQuery> {
  const query = readQuery(url, names, ["state"]);
  if ("problem" in query) return query;
  const parsed = v.safeParse(Query, Object.fromEntries(query.value));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const name = (v.getDotPath(issue) ?? "").split(".")[0] ?? "";
    const value = shortened(query.value.get(name) ?? "");
    return { problem: bad(`Option "${name}" is "${value}": ${issue.message}`) };
  }
  const { state = [], ...rest } = parsed.output;
  return { value: { states: state, ...rest } };
}

/** One page as a response: a JSON array, with `Link: rel="next"` where there is a further one. */
export async function listJobs(
  store: Pick<Store, "list"> | undefined,
  { path, query, isDeadLetter, format }: {
    readonly path: string;
    readonly query: PageQuery;
    readonly isDeadLetter?: boolean;
    readonly format: JobFormat;
  },
): Promise<Read<Response>> {
  if (store === undefined) return { problem: storeProblemOf(NO_STORE) };
  const { states, task, limit, cursor } = query;
  const filter: JobFilter = {
    states,
    ...(task === undefined ? {} : { task }),
    ...(isDeadLetter === undefined ? {} : { isDeadLetter }),
  };
  try {
    const page = await store.list(filter, limit, cursor);
    return {
      value: new Response(`[${page.jobs.map((job) => jobJson(job, format)).join(",")}]`, {
        headers: {
          "content-type": "application/json",
          "cache-control": "no-store",
          ...(page.cursor === undefined
            ? {}
            : { link: `<${path}?${nextQuery(query, page.cursor)}>; rel="next"` }),
        },
      }),
    };
  } catch (error) {
    if (error instanceof BadCursorError) {
      return { problem: bad('Option "cursor" is none that this front has given: begin anew') };
    }
    const problem = storeProblem(error);
    if (problem === undefined) throw error;
    return { problem: storeProblemOf(problem) };
  }
}

function nextQuery({ states, task, limit }: PageQuery, cursor: string): URLSearchParams {
  return new URLSearchParams({
    ...(states.length === 0 ? {} : { state: states.join(",") }),
    ...(task === undefined ? {} : { task }),
    limit: `${limit}`,
    cursor,
  });
}
