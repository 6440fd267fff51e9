/**
 * ADAPTER: job records in PostgreSQL, shared by any number of nodes. While the server is away every
 * operation fails soon and the next one tries to reach it again: nothing has to be started anew.
 */
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
import { type PostgresAddress, readAddress } from "./address.ts";
import { Connections } from "./connections.ts";
import { createJobs, forgetKeys } from "./create_jobs.ts";
import * as devices from "./device_rows.ts";
import * as jobs from "./job_rows.ts";
import * as leases from "./lease_rows.ts";
import { migrate } from "./migrate.ts";
import * as schedules from "./schedule_rows.ts";

const DEFAULT_CONNECTIONS = 4;
const OPERATION_LIMIT_MS = 10_000;
/** Tables are changed once a version, and another node may be at it. */
const MIGRATION_LIMIT_MS = 300_000;

export interface PostgresStoreOptions {
  /** `postgres://user:password@host:port/database?sslmode=`. */
  readonly url: string;
  /** Most connections at once. Default 4. */
  readonly maxConnections?: number;
  /** Larger results are not kept, in bytes of JSON. Default 1 MiB. */
  readonly maxResultBytes?: number;
  /** How long the server may take for one operation before it counts as away. Default 10 s. */
  readonly limitMs?: number;
}

export class PostgresStore implements Store {
  readonly isShared = true;
  readonly place: string;
  readonly #address: PostgresAddress;
  readonly #connections: Connections;
  readonly #maxResultBytes: number;
  #opening: Promise<void> | undefined;
  #state: "new" | "open" | "closed" = "new";

  /** @throws StoreRefusedError where the URL cannot be read. */
  constructor(options: PostgresStoreOptions) {
    this.#address = readAddress(options.url);
    this.place = this.#address.place;
    this.#maxResultBytes = options.maxResultBytes ?? MAX_RESULT_BYTES;
    const limitMs = options.limitMs ?? OPERATION_LIMIT_MS;
    this.#connections = new Connections({
      address: this.#address,
      maxConnections: options.maxConnections ?? DEFAULT_CONNECTIONS,
      limitMs,
      // The server gives up on a statement before we give up on the server.
      statementLimitMs: Math.ceil(limitMs * 0.8),
    });
  }

  async open(): Promise<void> {
    if (this.#state === "closed") throw this.#notOpen();
    await (this.#opening ??= this.#migrate());
  }

  async close(): Promise<void> {
    this.#state = "closed";
    await this.#connections.close();
  }

  async ping(): Promise<void> {
    await this.#open().run((sql) => sql`SELECT 1`);
  }

  async recordEvents(events: readonly JobEvent[]): Promise<readonly Job[]> {
    const connections = this.#open();
    if (events.length === 0) return [];
    return await connections.run((sql) => jobs.recordEvents(sql, events, this.#maxResultBytes));
  }

  async create(newJobs: readonly NewJob[], keysSince: number): Promise<readonly Created[]> {
    return await this.#open().run((sql) =>
      createJobs(sql, newJobs, keysSince, this.#maxResultBytes)
    );
  }

  async get(id: string): Promise<Job | undefined> {
    return await this.#open().run((sql) => jobs.getJob(sql, id));
  }

  async getMany(ids: readonly string[]): Promise<readonly JobSummary[]> {
    return await this.#open().run((sql) => jobs.getJobs(sql, ids));
  }

  async list(filter: JobFilter, limit: number, cursor?: string): Promise<JobPage> {
    return await this.#open().run((sql) => jobs.listJobs(sql, filter, limit, cursor));
  }

  async due(now: number, limit: number): Promise<readonly Job[]> {
    return await this.#open().run((sql) => jobs.dueJobs(sql, now, limit));
  }

  async nextDueAt(): Promise<number | undefined> {
    return await this.#open().run(jobs.nextDueAt);
  }

  async overdue(now: number, limit: number): Promise<readonly JobSummary[]> {
    return await this.#open().run((sql) => jobs.overdueJobs(sql, now, limit));
  }

  async cancelledIds(since: number): Promise<readonly string[]> {
    return await this.#open().run((sql) => jobs.cancelledIds(sql, since));
  }

  async deleteFinished(ids: readonly string[]): Promise<number> {
    return await this.#open().run((sql) => jobs.deleteFinished(sql, ids));
  }

  async deleteOld(retention: Retention, keysSince: number, limit: number): Promise<number> {
    return await this.#open().run(async (sql) => {
      await forgetKeys(sql, keysSince, limit);
      return await jobs.deleteOld(sql, retention, limit);
    });
  }

  async announceSchedules(announced: readonly AnnouncedSchedule[]): Promise<void> {
    await this.#open().run((sql) => schedules.announceSchedules(sql, announced));
  }

  async schedules(): Promise<readonly StoredSchedule[]> {
    return await this.#open().run(schedules.listSchedules);
  }

  async fireSchedule(
    name: string,
    dueAt: number,
    nextAt: number | undefined,
    job: BeginningEvent | undefined,
  ): Promise<boolean> {
    return await this.#open().run((sql) =>
      schedules.fireSchedule(sql, { name, dueAt, nextAt, job }, this.#maxResultBytes)
    );
  }

  async pauseSchedule(
    name: string,
    isPaused: boolean,
    nextAt: number | undefined,
  ): Promise<boolean> {
    return await this.#open().run((sql) => schedules.pauseSchedule(sql, name, isPaused, nextAt));
  }

  async deleteSchedule(name: string): Promise<boolean> {
    return await this.#open().run((sql) => schedules.deleteSchedule(sql, name));
  }

  async acquireLease(name: string, holder: string, ttlMs: number): Promise<Lease> {
    return await this.#open().run((sql) => leases.acquireLease(sql, name, holder, ttlMs));
  }

  async releaseLease(name: string, holder: string): Promise<void> {
    await this.#open().run((sql) => leases.releaseLease(sql, name, holder));
  }

  async recordDevices(statuses: readonly DeviceStatus[]): Promise<void> {
    await this.#open().run((sql) => devices.recordDevices(sql, statuses));
  }

  async device(id: string): Promise<DeviceStatus | undefined> {
    return await this.#open().run((sql) => devices.findDevice(sql, id));
  }

  async devices(
    state: DeviceState | undefined,
    limit: number,
    cursor?: string,
  ): Promise<DeviceStatusPage> {
    return await this.#open().run((sql) => devices.listDevices(sql, state, limit, cursor));
  }

  async deviceHistory(id: string, limit: number, cursor?: string): Promise<DeviceStatusPage> {
    return await this.#open().run((sql) => devices.deviceHistory(sql, id, limit, cursor));
  }

  async holdingNodes(): Promise<readonly NodeStart[]> {
    return await this.#open().run(devices.holdingNodes);
  }

  async loseDevices(lost: LostDevices, limit: number): Promise<readonly DeviceStatus[]> {
    return await this.#open().run((sql) => devices.loseDevices(sql, lost, limit));
  }

  async deleteOldDevices(before: number, limit: number): Promise<number> {
    return await this.#open().run((sql) => devices.deleteOldDevices(sql, before, limit));
  }

  async stats(): Promise<StoreStats> {
    return await this.#open().run(jobs.statsOf);
  }

  /** Where it fails, the next `open` tries again. */
  async #migrate(): Promise<void> {
    const connections = new Connections({
      address: this.#address,
      maxConnections: 1,
      limitMs: MIGRATION_LIMIT_MS,
      statementLimitMs: 0,
    });
    try {
      await connections.run(migrate);
      if (this.#state === "new") this.#state = "open";
    } catch (error) {
      this.#opening = undefined;
      throw error;
    } finally {
      await connections.close();
    }
  }

  #open(): Connections {
    if (this.#state !== "open") throw this.#notOpen();
    return this.#connections;
  }

  #notOpen(): StoreAwayError {
    return new StoreAwayError(`The job records at ${this.place} are not open`);
  }
}
