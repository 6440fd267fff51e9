/** Jobs in SQLite: reads and writes of rows. Synchronous; who opens transactions is sqlite_store.ts. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { isFinal, type Job, JOB_STATES, type JobState, type JobSummary } from "../../jobs/job.ts";
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
import type { JobFilter, JobPage, Retention } from "../store.ts";
import { numberOf, type Row, textOf, textOrNull } from "./columns.ts";
import type { Counts } from "./counts.ts";
import type { KeyTable } from "./key_table.ts";

const MAX_CANCELLED = 100_000;

interface KnownRow extends KnownJob {
  readonly key: number;
}

export class JobTable {
  readonly #database: DatabaseSync;
  readonly #keys: KeyTable;
  readonly #counts: Counts;
  readonly #find: StatementSync;
  readonly #insert: StatementSync;
  readonly #move: StatementSync;
  readonly #rewrite: StatementSync;
  readonly #setResult: StatementSync;
  readonly #addPayload: StatementSync;
  readonly #delete: StatementSync;
  readonly #deletePayload: StatementSync;
  readonly #get: StatementSync;
  readonly #due: StatementSync;
  readonly #nextDue: StatementSync;
  readonly #overdue: StatementSync;
  readonly #cancelled: StatementSync;
  readonly #oldFinished: StatementSync;
  readonly #oldDead: StatementSync;

  constructor(database: DatabaseSync, keys: KeyTable, counts: Counts) {
    const prepare = (sql: string) => database.prepare(sql);
    this.#database = database;
    this.#keys = keys;
    this.#counts = counts;
    this.#find = prepare("SELECT key, summary FROM jobs WHERE id = ?");
    this.#insert = prepare(
      `INSERT INTO jobs (id, task, state, created_at, due_at, expires_at, finished_at, dead_at,
         cancel_at, summary, result) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#move = prepare(
      `UPDATE jobs SET task = ?, state = ?, created_at = ?, due_at = ?, expires_at = ?,
         finished_at = ?, dead_at = ?, cancel_at = ?, summary = ? WHERE key = ?`,
    );
    this.#rewrite = prepare("UPDATE jobs SET summary = ? WHERE key = ?");
    this.#setResult = prepare("UPDATE jobs SET result = ? WHERE key = ?");
    this.#addPayload = prepare("INSERT OR IGNORE INTO payloads (key, payload) VALUES (?, ?)");
    this.#delete = prepare("DELETE FROM jobs WHERE key = ?");
    this.#deletePayload = prepare("DELETE FROM payloads WHERE key = ?");
    const whole = "SELECT summary, payload, result FROM jobs LEFT JOIN payloads USING (key)";
    this.#get = prepare(`${whole} WHERE id = ?`);
    this.#due = prepare(`${whole} WHERE due_at <= ? ORDER BY due_at LIMIT ?`);
    this.#nextDue = prepare("SELECT min(due_at) AS due_at FROM jobs WHERE due_at IS NOT NULL");
    this.#overdue = prepare(
      "SELECT summary FROM jobs WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
    );
    this.#cancelled = prepare(
      `SELECT id FROM jobs WHERE cancel_at >= ? ORDER BY cancel_at DESC, id DESC
         LIMIT ${MAX_CANCELLED}`,
    );
    this.#oldFinished = prepare(
      `SELECT key, summary FROM jobs
         WHERE finished_at < ? AND dead_at IS NULL
           AND (cancel_at IS NULL OR cancel_at < ${OPEN_CANCEL_AT} OR finished_at < ?)
         ORDER BY finished_at LIMIT ?`,
    );
    this.#oldDead = prepare(
      "SELECT key, summary FROM jobs WHERE dead_at < ? ORDER BY dead_at LIMIT ?",
    );
  }

  /** Applies events and writes what they change. */
  record(events: readonly JobEvent[], maxResultBytes: number): readonly Job[] {
    const known = new Map<string, KnownRow>();
    for (const { id } of events) {
      if (known.has(id)) continue;
      const row = this.#known(id);
      if (row !== undefined) known.set(id, row);
    }
    const changes = applyBatch(known, events, maxResultBytes);
    for (const change of changes) {
      if (isChanged(change)) this.#write(change, known.get(change.row.id)?.key);
    }
    return changes.map(({ job }) => job);
  }

  has(id: string): boolean {
    return this.#find.get(id) !== undefined;
  }

  get(id: string): Job | undefined {
    const row = this.#get.get(id);
    return row === undefined ? undefined : wholeOf(row);
  }

  getMany(ids: readonly string[]): readonly JobSummary[] {
    return ids.flatMap((id) => this.#known(id)?.job ?? []);
  }

  /** One short range for each state that is wanted, put together. */
  list({ states = [], task, isDeadLetter }: JobFilter, limit: number, cursor?: string): JobPage {
    const after = cursor === undefined ? undefined : decodeCursor(cursor);
    const conditions = [
      ...(isDeadLetter ? ["dead_at IS NOT NULL"] : []),
      ...(task === undefined ? [] : ["task = ?"]),
      ...(after === undefined ? [] : ["(created_at, id) < (?, ?)"]),
    ];
    const values = [
      ...(task === undefined ? [] : [task]),
      ...(after === undefined ? [] : [after.createdAt, after.id]),
    ];
    const index = isDeadLetter
      ? "jobs_dead"
      : task === undefined
      ? "jobs_by_state"
      : "jobs_by_task";
    const wanted = states.length === 0 ? JOB_STATES : [...new Set(states)];
    const ranges: readonly (readonly JobState[])[] = isDeadLetter
      ? [wanted]
      : wanted.map((state) => [state]);
    const jobs = ranges.flatMap((range) => {
      const where = [`state IN (${range.map(() => "?").join(", ")})`, ...conditions].join(" AND ");
      return this.#database.prepare(
        `SELECT summary FROM jobs INDEXED BY ${index} WHERE ${where}
           ORDER BY created_at DESC, id DESC LIMIT ?`,
      ).all(...range, ...values, limit + 1).map((row) => readSummary(textOf(row, "summary")));
    }).toSorted((a, b) => b.createdAt - a.createdAt || (a.id < b.id ? 1 : -1));
    const page = jobs.slice(0, limit);
    const last = page.at(-1);
    return jobs.length > limit && last !== undefined
      ? { jobs: page, cursor: encodeCursor(last) }
      : { jobs: page };
  }

  due(now: number, limit: number): readonly Job[] {
    return this.#due.all(now, limit).map(wholeOf);
  }

  nextDueAt(): number | undefined {
    const at = this.#nextDue.get()?.["due_at"];
    return at === null || at === undefined ? undefined : Number(at);
  }

  overdue(now: number, limit: number): readonly JobSummary[] {
    return this.#overdue.all(now, limit).map((row) => readSummary(textOf(row, "summary")));
  }

  cancelledIds(since: number): readonly string[] {
    return this.#cancelled.all(since).map((row) => textOf(row, "id"));
  }

  deleteFinished(ids: readonly string[]): number {
    const rows = [...new Set(ids)].flatMap((id) => this.#known(id) ?? [])
      .filter(({ job }) => isFinal(job.state));
    for (const row of rows) this.#remove(row);
    return rows.length;
  }

  deleteOld(retention: Retention, limit: number): number {
    const { finishedBefore, cancelledBefore, deadLetteredBefore } = retention;
    const finished = this.#oldFinished.all(finishedBefore, cancelledBefore, limit);
    const dead = this.#oldDead.all(deadLetteredBefore, limit - finished.length);
    for (const row of [...finished, ...dead]) this.#remove(knownOf(row));
    return finished.length + dead.length;
  }

  #known(id: string): KnownRow | undefined {
    const row = this.#find.get(id);
    return row === undefined ? undefined : knownOf(row);
  }

  #write(change: Change, knownKey: number | undefined): void {
    const { row, job, before, payload, result } = change;
    const key = knownKey ?? this.#add(change);
    if (knownKey !== undefined) {
      if (change.moves) {
        this.#move.run(
          row.task,
          row.state,
          row.createdAt,
          row.dueAt,
          row.expiresAt,
          row.finishedAt,
          row.deadAt,
          row.cancelAt,
          row.summary,
          knownKey,
        );
      } else this.#rewrite.run(row.summary, knownKey);
      if (result !== "keep" && (result.set !== null || before?.job.state === "succeeded")) {
        this.#setResult.run(result.set, knownKey);
      }
    }
    if (payload !== undefined) this.#addPayload.run(key, payload);
    for (const claim of change.claims) this.#keys.claim(claim, job.id);
    for (const release of change.releases) this.#keys.release(release, job.id);
    this.#counts.move(before?.job, job);
  }

  #add({ row, result }: Change): number {
    const { lastInsertRowid } = this.#insert.run(
      row.id,
      row.task,
      row.state,
      row.createdAt,
      row.dueAt,
      row.expiresAt,
      row.finishedAt,
      row.deadAt,
      row.cancelAt,
      row.summary,
      result === "keep" ? null : result.set,
    );
    return Number(lastInsertRowid);
  }

  #remove({ key, job }: KnownRow): void {
    this.#delete.run(key);
    this.#deletePayload.run(key);
    this.#counts.move(job, undefined);
  }
}

function knownOf(row: Row): KnownRow {
  const summary = textOf(row, "summary");
  return { key: numberOf(row, "key"), summary, job: readSummary(summary) };
}

function wholeOf(row: Row): Job {
  return wholeJob(textOf(row, "summary"), textOrNull(row, "payload"), textOrNull(row, "result"));
}
