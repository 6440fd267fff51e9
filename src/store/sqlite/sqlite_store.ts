/**
 * ADAPTER: job records in one SQLite file, which belongs to this process alone. SQLite works on the
 * calling thread: a batch of 500 events holds it for some milliseconds, which is what scripts/
 * bench_store.ts measures.
 */
import type { DatabaseSync } from "node:sqlite";
import { type Clock, systemClock } from "../../lifecycle/clock.ts";
import type { DeviceStatus } from "../../devices/device_status.ts";
import type { Job, JobSummary } from "../../jobs/job.ts";
import type { BeginningEvent, JobEvent } from "../../jobs/job_event.ts";
import { MAX_RESULT_BYTES } from "../../jobs/limits.ts";
import type { DeviceState, DeviceStatusPage, LostDevices, NodeStart } from "../device_store.ts";
import { StoreAwayError } from "../errors.ts";
import type {
  AnnouncedSchedule,
  Created,
  JobFilter,
  JobPage,
  Lease,
  NewJob,
  Retention,
  Store,
  StoredSchedule,
  StoreStats,
} from "../store.ts";
import { judge } from "../new_job.ts";
import { inTransaction } from "./columns.ts";
import { Counts } from "./counts.ts";
import { dataFilePath, isSqliteError, openDataFile, storeError } from "./data_file.ts";
import { DeviceTable } from "./device_table.ts";
import { JobTable } from "./job_table.ts";
import { KeyTable } from "./key_table.ts";
import { LeaseTable } from "./lease_table.ts";
import { ScheduleTable } from "./schedule_table.ts";
import { WriteQueue } from "./write_queue.ts";

export interface SqliteStoreOptions {
  /** Folder of `jobs.sqlite`; created with mode 0700 where it is missing. */
  readonly dataDir: string;
  readonly clock?: Clock;
  /** Larger results are not kept, in bytes of JSON. Default 1 MiB. */
  readonly maxResultBytes?: number;
  /** Largest size of the file, in bytes; past it, writes fail. Default: what the disk holds. */
  readonly maxFileBytes?: number;
}

interface Open {
  readonly database: DatabaseSync;
  readonly counts: Counts;
  readonly jobs: JobTable;
  readonly keys: KeyTable;
  readonly schedules: ScheduleTable;
  readonly leases: LeaseTable;
  readonly devices: DeviceTable;
  readonly writes: WriteQueue;
}

export class SqliteStore implements Store {
  readonly isShared = false;
  readonly place: string;
  readonly #options: SqliteStoreOptions;
  readonly #clock: Clock;
  readonly #maxResultBytes: number;
  #open: Open | undefined;
  #isClosed = false;

  constructor(options: SqliteStoreOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#maxResultBytes = options.maxResultBytes ?? MAX_RESULT_BYTES;
    this.place = dataFilePath(options.dataDir);
  }

  async open(): Promise<void> {
    if (this.#isClosed) throw this.#closed();
    if (this.#open !== undefined) return;
    const database = openDataFile(this.#options.dataDir, this.#options);
    const counts = new Counts(database);
    const keys = new KeyTable(database);
    const transaction = <T>(run: () => T): T => {
      let isCommitted = false;
      try {
        const result = inTransaction(database, run);
        isCommitted = true;
        return result;
      } finally {
        counts.settle(isCommitted);
      }
    };
    this.#open = {
      database,
      counts,
      keys,
      jobs: new JobTable(database, keys, counts),
      schedules: new ScheduleTable(database),
      leases: new LeaseTable(database),
      devices: new DeviceTable(database),
      writes: new WriteQueue({ transaction }),
    };
    await Promise.resolve();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return;
    open.writes.flush();
    open.database.close();
    await Promise.resolve();
  }

  async ping(): Promise<void> {
    await this.#read(({ database }) => void database.prepare("SELECT 1").get());
  }

  recordEvents(events: readonly JobEvent[]): Promise<readonly Job[]> {
    return this.#write(({ jobs }) => jobs.record(events, this.#maxResultBytes));
  }

  create(newJobs: readonly NewJob[], keysSince: number): Promise<readonly Created[]> {
    return this.#write((open) => newJobs.map((newJob) => this.#create(open, newJob, keysSince)));
  }

  get(id: string): Promise<Job | undefined> {
    return this.#read(({ jobs }) => jobs.get(id));
  }

  getMany(ids: readonly string[]): Promise<readonly JobSummary[]> {
    return this.#read(({ jobs }) => jobs.getMany(ids));
  }

  list(filter: JobFilter, limit: number, cursor?: string): Promise<JobPage> {
    return this.#read(({ jobs }) => jobs.list(filter, limit, cursor));
  }

  due(now: number, limit: number): Promise<readonly Job[]> {
    return this.#read(({ jobs }) => jobs.due(now, limit));
  }

  nextDueAt(): Promise<number | undefined> {
    return this.#read(({ jobs }) => jobs.nextDueAt());
  }

  overdue(now: number, limit: number): Promise<readonly JobSummary[]> {
    return this.#read(({ jobs }) => jobs.overdue(now, limit));
  }

  cancelledIds(since: number): Promise<readonly string[]> {
    return this.#read(({ jobs }) => jobs.cancelledIds(since));
  }

  deleteFinished(ids: readonly string[]): Promise<number> {
    return this.#write(({ jobs }) => jobs.deleteFinished(ids));
  }

  deleteOld(retention: Retention, keysSince: number, limit: number): Promise<number> {
    return this.#write(({ jobs, keys }) => {
      keys.forget(keysSince, limit);
      return jobs.deleteOld(retention, limit);
    });
  }

  announceSchedules(announced: readonly AnnouncedSchedule[]): Promise<void> {
    return this.#write(({ schedules }) => {
      for (const schedule of announced) schedules.announce(schedule);
    });
  }

  schedules(): Promise<readonly StoredSchedule[]> {
    return this.#read(({ schedules }) => schedules.list());
  }

  fireSchedule(
    name: string,
    dueAt: number,
    nextAt: number | undefined,
    job: BeginningEvent | undefined,
  ): Promise<boolean> {
    return this.#write(({ schedules, jobs }) => {
      const fires = schedules.fire(name, dueAt, nextAt, job?.id);
      if (fires && job !== undefined) jobs.record([job], this.#maxResultBytes);
      return fires;
    });
  }

  pauseSchedule(name: string, isPaused: boolean, nextAt: number | undefined): Promise<boolean> {
    return this.#write(({ schedules }) => schedules.pause(name, isPaused, nextAt));
  }

  deleteSchedule(name: string): Promise<boolean> {
    return this.#write(({ schedules }) => schedules.delete(name));
  }

  acquireLease(name: string, holder: string, ttlMs: number): Promise<Lease> {
    return this.#write(({ leases }) => leases.acquire(name, holder, ttlMs, this.#clock.now()));
  }

  releaseLease(name: string, holder: string): Promise<void> {
    return this.#write(({ leases }) => leases.release(name, holder));
  }

  recordDevices(statuses: readonly DeviceStatus[]): Promise<void> {
    return this.#write(({ devices }) => devices.record(statuses));
  }

  device(id: string): Promise<DeviceStatus | undefined> {
    return this.#read(({ devices }) => devices.find(id));
  }

  devices(
    state: DeviceState | undefined,
    limit: number,
    cursor?: string,
  ): Promise<DeviceStatusPage> {
    return this.#read(({ devices }) => devices.list(state, limit, cursor));
  }

  deviceHistory(id: string, limit: number, cursor?: string): Promise<DeviceStatusPage> {
    return this.#read(({ devices }) => devices.history(id, limit, cursor));
  }

  holdingNodes(): Promise<readonly NodeStart[]> {
    return this.#read(({ devices }) => devices.holding());
  }

  loseDevices(lost: LostDevices, limit: number): Promise<readonly DeviceStatus[]> {
    return this.#write(({ devices }) => devices.lose(lost, limit));
  }

  deleteOldDevices(before: number, limit: number): Promise<number> {
    return this.#write(({ devices }) => devices.deleteOld(before, limit));
  }

  stats(): Promise<StoreStats> {
    return this.#read(({ counts }) => counts.stats());
  }

  #create({ jobs, keys }: Open, newJob: NewJob, keysSince: number): Created {
    const { event } = newJob;
    const verdict = judge(newJob, keys, keysSince);
    if (verdict.use !== undefined) keys.use(verdict.use.key, verdict.use);
    if (verdict.kind !== "make") return verdict.told;
    const [job] = jobs.record([event], this.#maxResultBytes);
    if (job === undefined) throw new Error(`Job ${event.id} was not recorded`);
    return { kind: "created", job };
  }

  async #write<T>(run: (open: Open) => T): Promise<T> {
    const open = this.#opened();
    try {
      return await open.writes.add(() => run(open));
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /** Nobody else writes, and a group of writes is never left half done when this runs. */
  async #read<T>(run: (open: Open) => T): Promise<T> {
    const open = this.#opened();
    try {
      return await Promise.resolve(run(open));
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #opened(): Open {
    if (this.#open === undefined) throw this.#closed();
    return this.#open;
  }

  #closed(): StoreAwayError {
    return new StoreAwayError(`The job records in ${this.place} are not open`);
  }

  #failure(error: unknown): unknown {
    return isSqliteError(error) ? storeError(this.place, error) : error;
  }
}
