/** Settings of the records of jobs, and of schedules. */
import { schedulesReader } from "../schedules_setting.ts";
import type { Setting } from "../setting.ts";
import { duration, urlOf } from "../value.ts";
import { DAY_MS, MAX_KEPT_MS, NODES, one, onOff, structure } from "./rows.ts";

export const JOBS_SETTINGS = {
  store: one({
    group: "Jobs",
    modes: NODES,
    reader: urlOf(["postgres:", "postgresql:"], "postgres://user:password@host:5432/database"),
    isSecret: true,
    defaultText: "SQLite in the folder of --data",
    help: "PostgreSQL to keep job records in, which several nodes can share",
  }),
  recorder: onOff({
    group: "Jobs",
    modes: NODES,
    fallback: true,
    fallbackIn: { work: false },
    help: "keep no job records: another node of this broker does",
    helpIn: { work: "keep the records of jobs, as fronts do" },
  }),
  keepResults: one({
    group: "Jobs",
    modes: NODES,
    reader: duration({ minMs: 1_000, maxMs: MAX_KEPT_MS }),
    fallback: 7 * DAY_MS,
    defaultText: "7d",
    help: "how long the records of finished jobs are kept",
  }),
  keepDeadLetters: one({
    group: "Jobs",
    modes: NODES,
    reader: duration({ minMs: 1_000, maxMs: MAX_KEPT_MS }),
    fallback: 30 * DAY_MS,
    defaultText: "30d",
    help: "how long dead letters are kept",
  }),
  keepDevices: one({
    group: "Jobs",
    modes: NODES,
    reader: duration({ minMs: 1_000, maxMs: MAX_KEPT_MS }),
    fallback: 7 * DAY_MS,
    defaultText: "7d",
    help: "how long the history of devices is kept, and devices that are offline",
  }),
  schedules: structure({
    group: "Jobs",
    modes: NODES,
    reader: schedulesReader,
    defaultText: "none",
    help: 'jobs to run by the clock, such as [{"task":"tidy","every":"1h"}]; best kept in the file',
  }),
} as const satisfies Readonly<Record<string, Setting>>;
