/** A schedule as adapters read it from their tables. */
import type { ScheduleSpec } from "../tasks/schedule.ts";
import type { StoredSchedule } from "./store.ts";

export interface ScheduleRow {
  readonly name: string;
  /** JSON text. */
  readonly spec: string;
  readonly task: string;
  readonly input: string;
  readonly file: string;
  readonly isPaused: boolean;
  readonly announcedAt: number;
  readonly lastFiredAt: number | null;
  readonly lastJobId: string | null;
  readonly nextAt: number | null;
}

export function readSchedule(row: ScheduleRow): StoredSchedule {
  const { name, task, input, file, isPaused, announcedAt, lastFiredAt, lastJobId, nextAt } = row;
  return {
    name,
    spec: JSON.parse(row.spec) as ScheduleSpec,
    task,
    input,
    file,
    isPaused,
    announcedAt,
    ...(lastFiredAt === null ? {} : { lastFiredAt }),
    ...(lastJobId === null ? {} : { lastJobId }),
    ...(nextAt === null ? {} : { nextAt }),
  };
}
