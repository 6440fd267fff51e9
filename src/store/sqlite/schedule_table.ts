/** Schedules in SQLite. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { readSchedule } from "../schedule_row.ts";
import type { AnnouncedSchedule, StoredSchedule } from "../store.ts";
import { numberOf, numberOrNull, textOf, textOrNull } from "./columns.ts";

export class ScheduleTable {
  readonly #announce: StatementSync;
  readonly #list: StatementSync;
  readonly #fire: StatementSync;
  readonly #pause: StatementSync;
  readonly #delete: StatementSync;

  constructor(database: DatabaseSync) {
    this.#announce = database.prepare(
      `INSERT INTO schedules (name, spec, task, input, file, is_paused, announced_at, next_at)
         VALUES (?, ?, ?, ?, ?, 0, ?, ?)
         ON CONFLICT (name) DO UPDATE SET
           next_at = CASE WHEN schedules.spec = excluded.spec AND schedules.next_at IS NOT NULL
             THEN schedules.next_at ELSE excluded.next_at END,
           spec = excluded.spec, task = excluded.task, input = excluded.input,
           file = excluded.file, announced_at = excluded.announced_at
         WHERE excluded.announced_at >= schedules.announced_at`,
    );
    this.#list = database.prepare("SELECT * FROM schedules ORDER BY name");
    this.#fire = database.prepare(
      `UPDATE schedules SET last_fired_at = next_at, next_at = ?, last_job_id =
         coalesce(?, last_job_id) WHERE name = ? AND next_at = ? AND is_paused = 0`,
    );
    this.#pause = database.prepare(
      `UPDATE schedules SET next_at = CASE WHEN ? THEN next_at ELSE ? END, is_paused = ?
         WHERE name = ?`,
    );
    this.#delete = database.prepare("DELETE FROM schedules WHERE name = ?");
  }

  announce({ name, spec, task, input, file, announcedAt, nextAt }: AnnouncedSchedule): void {
    const specJson = JSON.stringify(spec);
    this.#announce.run(name, specJson, task, input, file, announcedAt, nextAt ?? null);
  }

  list(): readonly StoredSchedule[] {
    return this.#list.all().map((row) =>
      readSchedule({
        name: textOf(row, "name"),
        spec: textOf(row, "spec"),
        task: textOf(row, "task"),
        input: textOf(row, "input"),
        file: textOf(row, "file"),
        isPaused: numberOf(row, "is_paused") !== 0,
        announcedAt: numberOf(row, "announced_at"),
        lastFiredAt: numberOrNull(row, "last_fired_at"),
        lastJobId: textOrNull(row, "last_job_id"),
        nextAt: numberOrNull(row, "next_at"),
      })
    );
  }

  fire(name: string, dueAt: number, nextAt: number | undefined, job: string | undefined): boolean {
    return this.#fire.run(nextAt ?? null, job ?? null, name, dueAt).changes > 0;
  }

  pause(name: string, isPaused: boolean, nextAt: number | undefined): boolean {
    const paused = isPaused ? 1 : 0;
    return this.#pause.run(paused, nextAt ?? null, paused, name).changes > 0;
  }

  delete(name: string): boolean {
    return this.#delete.run(name).changes > 0;
  }
}
