/** Lists of jobs, page by page: `?state=&task=&limit=&cursor=`, and the link to the next page. */
import * as v from "valibot";
import { NO_STORE } from "../jobs/job_lookup.ts";
import { JOB_STATES, type JobState } from "../jobs/job.ts";
import type { JobFilter, Store } from "../store/store.ts";
import { storeProblemOf } from "./acceptance_problem.ts";
import type { Read } from "./body.ts";
import { type JobFormat, jobJson } from "./job_format.ts";
import { OptionText, PAGE_ENTRIES, pageProblem, pageResponse, readOptions } from "./pages.ts";

const STATE = `expected states with commas between them, of ${JOB_STATES.join(", ")}`;

const Query = v.object({
  state: v.exactOptional(v.pipe(
    v.string(),
    v.transform((text) => text.split(",")),
    v.array(v.picklist(JOB_STATES, STATE)),
  )),
  task: v.exactOptional(OptionText),
  ...PAGE_ENTRIES,
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
  const query = readOptions(Query, url, names, ["state"]);
  if ("problem" in query) return query;
  const { state = [], ...rest } = query.value;
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
    const json = `[${page.jobs.map((job) => jobJson(job, format)).join(",")}]`;
    return { value: pageResponse(json, path, nextQuery(query, page.cursor)) };
  } catch (error) {
    return { problem: pageProblem(error) };
  }
}

/** Undefined where this is the last page. */
function nextQuery(
  { states, task, limit }: PageQuery,
  cursor: string | undefined,
): URLSearchParams | undefined {
  return cursor === undefined ? undefined : new URLSearchParams({
    ...(states.length === 0 ? {} : { state: states.join(",") }),
    ...(task === undefined ? {} : { task }),
    limit: `${limit}`,
    cursor,
  });
}
