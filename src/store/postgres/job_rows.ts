/** Jobs in PostgreSQL: reads and writes of rows, many in one statement. */
import { FINAL_STATES, type Job, JOB_STATES, type JobSummary } from "../../jobs/job.ts";
import type { JobEvent } from "../../jobs/job_event.ts";
import { decodeCursor, encodeCursor } from "../cursor.ts";
import {
  applyBatch,
  type Change,
  isChanged,
  type KnownJob,
  OPEN_CANCEL_AT,
  readSummary,
  wholeJob,
} from "../job_row.ts";
import type { JobFilter, JobPage, Retention, StoreStats } from "../store.ts";
import { numberOf, rowsText, searchable, textOf, textOrNull } from "./columns.ts";
import type { Sql } from "./connections.ts";

const MAX_CANCELLED = 100_000;

interface KnownRow extends KnownJob {
  readonly version: number;
}

/** What changes write, as parameters of `coxswain.record`. */
export interface Written {
  readonly jobs: string;
  readonly payloads: string;
  readonly claims: string;
  readonly releases: string;
}

export interface Applied {
  readonly jobs: readonly Job[];
  /** Undefined: nothing changes. */
  readonly written: Written | undefined;
}

/**
 * Applies events and writes what they change. Nothing is locked while they are applied: where another
 * recorder has changed or made one of the jobs meanwhile, it fails with 40001 and is to be repeated.
 */
export async function recordEvents(
  sql: Sql,
  events: readonly JobEvent[],
  maxResultBytes: number,
): Promise<readonly Job[]> {
  const { jobs, written } = await applyEvents(sql, events, maxResultBytes);
  if (written === undefined) return jobs;
  await sql`
    SELECT coxswain.record((${written.jobs}::text)::json, (${written.payloads}::text)::json,
      (${written.claims}::text)::json, false, (${written.releases}::text)::json, '[]')`;
  return jobs;
}

/** Applies events to the jobs as they are now, and writes nothing. */
export async function applyEvents(
  sql: Sql,
  events: readonly JobEvent[],
  maxResultBytes: number,
): Promise<Applied> {
  const known = await knownJobs(sql, events.map(({ id }) => id));
  const changes = applyBatch(known, events, maxResultBytes);
  const changed = changes.filter(isChanged);
  return {
    jobs: changes.map(({ job }) => job),
    written: changed.length === 0 ? undefined : writtenBy(changed, known),
  };
}

async function knownJobs(
  sql: Sql,
  ids: readonly string[],
): Promise<ReadonlyMap<string, KnownRow>> {
  if (ids.length === 0) return new Map();
  const wanted = rowsText([...new Set(ids)]);
  const rows = await sql`
    SELECT version, summary FROM coxswain.jobs
      WHERE id IN (SELECT json_array_elements_text((${wanted}::text)::json))`;
  return new Map(rows.map((row) => {
    const summary = textOf(row, "summary");
    const job = readSummary(summary);
    return [job.id, { job, summary, version: numberOf(row, "version") }];
  }));
}

function writtenBy(changes: readonly Change[], known: ReadonlyMap<string, KnownRow>): Written {
  const keysOf = (pick: (change: Change) => readonly string[]) =>
    rowsText(
      changes.flatMap((change) =>
        pick(change).map((key) => ({ key: searchable(key), id: change.job.id }))
      ),
    );
  return {
    jobs: rowsText(changes.map(({ row, job, result }) => ({
      id: row.id,
      version: (known.get(row.id)?.version ?? 0) + 1,
      round: job.firstAttempt,
      task: searchable(row.task),
      state: row.state,
      created_at: row.createdAt,
      due_at: row.dueAt,
      expires_at: row.expiresAt,
      finished_at: row.finishedAt,
      dead_at: row.deadAt,
      cancel_at: row.cancelAt,
      summary: row.summary,
      result: result === "keep" ? null : result.set,
    }))),
    payloads: rowsText(
      changes.flatMap(({ job: { id }, payload }) => payload === undefined ? [] : [{ id, payload }]),
    ),
    claims: keysOf(({ claims }) => claims),
    releases: keysOf(({ releases }) => releases),
  };
}

export async function getJob(sql: Sql, id: string): Promise<Job | undefined> {
  const [row] = await sql`
    SELECT summary, payload, result FROM coxswain.jobs LEFT JOIN coxswain.payloads USING (id)
      WHERE id = ${searchable(id)}`;
  return row === undefined ? undefined : wholeOf(row);
}

export async function getJobs(sql: Sql, ids: readonly string[]): Promise<readonly JobSummary[]> {
  const wanted = rowsText(ids.map(searchable));
  return summariesOf(
    await sql`
    SELECT summary FROM coxswain.jobs
      WHERE id IN (SELECT json_array_elements_text((${wanted}::text)::json))`,
  );
}

/** One short range of an index for each state that is wanted, put together. */
export async function listJobs(
  sql: Sql,
  { states = [], task, isDeadLetter = false }: JobFilter,
  limit: number,
  cursor?: string,
): Promise<JobPage> {
  const after = cursor === undefined ? undefined : decodeCursor(cursor);
  const wanted = rowsText(states.length === 0 ? JOB_STATES : [...new Set(states)]);
  const restOfKey = after === undefined
    ? sql``
    : sql`AND (created_at, id) < (${after.createdAt}::bigint, ${searchable(after.id)}::text)`;
  const ofTask = task === undefined ? sql`` : sql`AND task = ${searchable(task)}::text`;
  const rows = isDeadLetter
    ? await sql`
      SELECT summary FROM coxswain.jobs
        WHERE dead_at IS NOT NULL ${ofTask} ${restOfKey}
          AND state IN (SELECT json_array_elements_text((${wanted}::text)::json))
        ORDER BY created_at DESC, id DESC LIMIT ${limit + 1}`
    : await sql`
      SELECT page.summary
        FROM json_array_elements_text((${wanted}::text)::json) AS wanted (state)
        CROSS JOIN LATERAL (
          SELECT summary, created_at, id FROM coxswain.jobs
            WHERE state = wanted.state ${ofTask} ${restOfKey}
            ORDER BY created_at DESC, id DESC LIMIT ${limit + 1}
        ) AS page
        ORDER BY page.created_at DESC, page.id DESC LIMIT ${limit + 1}`;
  const jobs = summariesOf(rows);
  const page = jobs.slice(0, limit);
  const last = page.at(-1);
  return jobs.length > limit && last !== undefined
    ? { jobs: page, cursor: encodeCursor(last) }
    : { jobs: page };
}

export async function dueJobs(sql: Sql, now: number, limit: number): Promise<readonly Job[]> {
  const rows = await sql`
    SELECT summary, payload, result FROM coxswain.jobs LEFT JOIN coxswain.payloads USING (id)
      WHERE due_at <= ${now} ORDER BY due_at LIMIT ${limit}`;
  return rows.map(wholeOf);
}

export async function nextDueAt(sql: Sql): Promise<number | undefined> {
  const [row] = await sql`
    SELECT min(due_at) AS due_at FROM coxswain.jobs WHERE due_at IS NOT NULL`;
  const at: unknown = row?.["due_at"];
  return at === null || at === undefined ? undefined : Number(at);
}

export async function overdueJobs(
  sql: Sql,
  now: number,
  limit: number,
): Promise<readonly JobSummary[]> {
  return summariesOf(
    await sql`
    SELECT summary FROM coxswain.jobs
      WHERE expires_at <= ${now} ORDER BY expires_at LIMIT ${limit}`,
  );
}

export async function cancelledIds(sql: Sql, since: number): Promise<readonly string[]> {
  const rows = await sql`
    SELECT id FROM coxswain.jobs WHERE cancel_at >= ${since}
      ORDER BY cancel_at DESC, id DESC LIMIT ${MAX_CANCELLED}`;
  return rows.map((row) => textOf(row, "id"));
}

export async function deleteFinished(sql: Sql, ids: readonly string[]): Promise<number> {
  const rows = rowsText(ids.map(searchable));
  const [row] = await sql`
    WITH gone AS (
      DELETE FROM coxswain.jobs
        WHERE id IN (SELECT json_array_elements_text((${rows}::text)::json))
          AND state IN (SELECT json_array_elements_text((${rowsText(FINAL_STATES)}::text)::json))
        RETURNING id
    ), payloads AS (
      DELETE FROM coxswain.payloads p USING gone WHERE p.id = gone.id
    )
    SELECT count(*) AS n FROM gone`;
  return row === undefined ? 0 : numberOf(row, "n");
}

/** Rows that another recorder is deleting are left to it. */
export async function deleteOld(
  sql: Sql,
  { finishedBefore, deadLetteredBefore, cancelledBefore }: Retention,
  limit: number,
): Promise<number> {
  const [row] = await sql`
    WITH finished AS (
      SELECT id FROM coxswain.jobs
        WHERE finished_at < ${finishedBefore} AND dead_at IS NULL
          AND (cancel_at IS NULL OR cancel_at < ${OPEN_CANCEL_AT}
            OR finished_at < ${cancelledBefore})
        ORDER BY finished_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ), dead AS (
      SELECT id FROM coxswain.jobs WHERE dead_at < ${deadLetteredBefore}
        ORDER BY dead_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ), old AS (
      SELECT id FROM finished UNION ALL SELECT id FROM dead LIMIT ${limit}
    ), gone AS (
      DELETE FROM coxswain.jobs j USING old WHERE j.id = old.id RETURNING j.id
    ), payloads AS (
      DELETE FROM coxswain.payloads p USING gone WHERE p.id = gone.id
    )
    SELECT count(*) AS n FROM gone`;
  return row === undefined ? 0 : numberOf(row, "n");
}

export async function statsOf(sql: Sql): Promise<StoreStats> {
  const rows = await sql`
    SELECT state, count(*) AS n FROM coxswain.jobs GROUP BY state
    UNION ALL
    SELECT 'dead', count(*) FROM coxswain.jobs WHERE dead_at IS NOT NULL`;
  const counts = new Map(rows.map((row) => [textOf(row, "state"), numberOf(row, "n")]));
  const byState = Object.fromEntries(JOB_STATES.map((state) => [state, counts.get(state) ?? 0]));
  return {
    byState: byState as StoreStats["byState"],
    deadLetters: counts.get("dead") ?? 0,
  };
}

type Rows = readonly Parameters<typeof textOf>[0][];

function summariesOf(rows: Rows): readonly JobSummary[] {
  return rows.map((row) => readSummary(textOf(row, "summary")));
}

function wholeOf(row: Rows[number]): Job {
  return wholeJob(textOf(row, "summary"), textOrNull(row, "payload"), textOrNull(row, "result"));
}
