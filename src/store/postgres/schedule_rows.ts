/** Schedules in PostgreSQL. */
import type { BeginningEvent } from "../../jobs/job_event.ts";
import { readSchedule } from "../schedule_row.ts";
import type { AnnouncedSchedule, StoredSchedule } from "../store.ts";
import { numberOf, numberOrNull, rowsText, searchable, textOf, textOrNull } from "./columns.ts";
import type { Sql } from "./connections.ts";
import { applyEvents } from "./job_rows.ts";

export async function announceSchedules(
  sql: Sql,
  schedules: readonly AnnouncedSchedule[],
): Promise<void> {
  // The last of one name, as if they came one after the other: a statement meets a row but once.
  const byName = new Map(schedules.map((schedule) => [schedule.name, schedule]));
  const rows = rowsText(Array.from(byName.values(), (schedule) => ({
    name: searchable(schedule.name),
    spec: JSON.stringify(schedule.spec),
    task: searchable(schedule.task),
    input: schedule.input,
    file: searchable(schedule.file),
    announced_at: schedule.announcedAt,
    next_at: schedule.nextAt ?? null,
  })));
  await sql`
    INSERT INTO coxswain.schedules AS s
      (name, spec, task, input, file, is_paused, announced_at, next_at)
    SELECT name, spec, task, input, file, false, announced_at, next_at
      FROM json_to_recordset((${rows}::text)::json) AS r (name text, spec text, task text,
        input text, file text, announced_at bigint, next_at bigint)
      ORDER BY name COLLATE "C"
    ON CONFLICT (name) DO UPDATE SET
      next_at = CASE WHEN s.spec = excluded.spec AND s.next_at IS NOT NULL
        THEN s.next_at ELSE excluded.next_at END,
      spec = excluded.spec, task = excluded.task, input = excluded.input, file = excluded.file,
      announced_at = excluded.announced_at
      WHERE excluded.announced_at >= s.announced_at`;
}

export async function listSchedules(sql: Sql): Promise<readonly StoredSchedule[]> {
  const rows = await sql`SELECT * FROM coxswain.schedules ORDER BY name`;
  return rows.map((row) =>
    readSchedule({
      name: textOf(row, "name"),
      spec: textOf(row, "spec"),
      task: textOf(row, "task"),
      input: textOf(row, "input"),
      file: textOf(row, "file"),
      isPaused: row["is_paused"] === true,
      announcedAt: numberOf(row, "announced_at"),
      lastFiredAt: numberOrNull(row, "last_fired_at"),
      lastJobId: textOrNull(row, "last_job_id"),
      nextAt: numberOrNull(row, "next_at"),
    })
  );
}

export interface Firing {
  readonly name: string;
  readonly dueAt: number;
  readonly nextAt: number | undefined;
  readonly job: BeginningEvent | undefined;
}

export async function fireSchedule(
  sql: Sql,
  { name, dueAt, nextAt, job }: Firing,
  maxResultBytes: number,
): Promise<boolean> {
  const { written } = await applyEvents(sql, job === undefined ? [] : [job], maxResultBytes);
  const { jobs = "[]", payloads = "[]", claims = "[]" } = written ?? {};
  const [row] = await sql`
    SELECT coxswain.fire(${searchable(name)}::text, ${dueAt}::bigint, ${nextAt ?? null}::bigint,
      ${job?.id ?? null}::text, (${jobs}::text)::json, (${payloads}::text)::json,
      (${claims}::text)::json) AS fired`;
  return row?.["fired"] === true;
}

export async function pauseSchedule(
  sql: Sql,
  name: string,
  isPaused: boolean,
  nextAt: number | undefined,
): Promise<boolean> {
  const { count } = await sql`
    UPDATE coxswain.schedules SET is_paused = ${isPaused},
      next_at = CASE WHEN ${isPaused} THEN next_at ELSE ${nextAt ?? null}::bigint END
      WHERE name = ${searchable(name)}`;
  return count > 0;
}

export async function deleteSchedule(sql: Sql, name: string): Promise<boolean> {
  const { count } = await sql`DELETE FROM coxswain.schedules WHERE name = ${searchable(name)}`;
  return count > 0;
}
