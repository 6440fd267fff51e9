/** Devices in SQLite. Synchronous; who opens transactions is sqlite_store.ts. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { DeviceStatus } from "../../devices/device_status.ts";
import {
  afterDevice,
  afterStatus,
  DEVICE_COLUMNS,
  devicePage,
  deviceRow,
  deviceStatus,
  LAST_PLACE,
  placeOf,
} from "../device_row.ts";
import type { DeviceState, DeviceStatusPage, LostDevices, NodeStart } from "../device_store.ts";
import { numberOf, type Row, textOf, textOrNull } from "./columns.ts";

const PLACE = ["epoch", "node", "revision", "is_offline"];

export class DeviceTable {
  readonly #remember: StatementSync;
  readonly #become: StatementSync;
  readonly #find: StatementSync;
  readonly #page: StatementSync;
  readonly #pageOfAll: StatementSync;
  readonly #history: StatementSync;
  readonly #holding: StatementSync;
  readonly #online: StatementSync;
  readonly #deleteStatuses: StatementSync;
  readonly #deleteDevices: StatementSync;

  constructor(database: DatabaseSync) {
    const prepare = (sql: string) => database.prepare(sql);
    const row = `(${DEVICE_COLUMNS}) VALUES (${DEVICE_COLUMNS.map(() => "?")})`;
    const place = (table: string) => `(${PLACE.map((column) => `${table}.${column}`)})`;
    this.#remember = prepare(`INSERT OR IGNORE INTO device_statuses ${row}`);
    this.#become = prepare(
      `INSERT INTO devices ${row} ON CONFLICT (id) DO UPDATE SET
         ${DEVICE_COLUMNS.map((column) => `${column} = excluded.${column}`)}
         WHERE ${place("excluded")} > ${place("devices")}`,
    );
    this.#find = prepare("SELECT * FROM devices WHERE id = ?");
    this.#page = prepare(
      "SELECT * FROM devices WHERE is_offline = ? AND id > ? ORDER BY id LIMIT ?",
    );
    this.#pageOfAll = prepare("SELECT * FROM devices WHERE id > ? ORDER BY id LIMIT ?");
    this.#history = prepare(
      `SELECT * FROM device_statuses WHERE id = ? AND (${PLACE}) < (?, ?, ?, ?)
         ORDER BY ${PLACE.map((column) => `${column} DESC`)} LIMIT ?`,
    );
    this.#holding = prepare(
      `SELECT DISTINCT node, node_started_at FROM devices INDEXED BY devices_online
         WHERE is_offline = 0 ORDER BY node, node_started_at`,
    );
    this.#online = prepare(
      `SELECT * FROM devices INDEXED BY devices_online
         WHERE is_offline = 0 AND node = ? AND node_started_at = ? LIMIT ?`,
    );
    this.#deleteStatuses = prepare(
      `DELETE FROM device_statuses WHERE (id, ${PLACE}) IN
         (SELECT id, ${PLACE} FROM device_statuses WHERE at < ? ORDER BY at LIMIT ?)`,
    );
    this.#deleteDevices = prepare(
      `DELETE FROM devices WHERE id IN
         (SELECT id FROM devices INDEXED BY devices_offline WHERE is_offline = 1 AND at < ?
            ORDER BY at LIMIT ?)`,
    );
  }

  record(statuses: readonly DeviceStatus[]): void {
    for (const status of statuses) {
      const row = deviceRow(status);
      const values = DEVICE_COLUMNS.map((column) => row[column]);
      if (Number(this.#remember.run(...values).changes) > 0) this.#become.run(...values);
    }
  }

  find(id: string): DeviceStatus | undefined {
    const row = this.#find.get(id);
    return row === undefined ? undefined : statusOf(row);
  }

  list(state: DeviceState | undefined, limit: number, cursor?: string): DeviceStatusPage {
    const after = cursor === undefined ? "" : afterDevice(cursor);
    const rows = state === undefined
      ? this.#pageOfAll.all(after, limit + 1)
      : this.#page.all(state === "offline" ? 1 : 0, after, limit + 1);
    return devicePage(rows.map(statusOf), limit, ({ device }) => [device]);
  }

  history(id: string, limit: number, cursor?: string): DeviceStatusPage {
    const after = cursor === undefined ? LAST_PLACE : afterStatus(cursor);
    return devicePage(this.#history.all(id, ...after, limit + 1).map(statusOf), limit, placeOf);
  }

  holding(): readonly NodeStart[] {
    return this.#holding.all().map((row) => ({
      node: textOf(row, "node"),
      nodeStartedAt: textOf(row, "node_started_at"),
    }));
  }

  lose(
    { node, nodeStartedAt, at, reason }: LostDevices,
    limit: number,
  ): readonly DeviceStatus[] {
    const lost = this.#online.all(node, nodeStartedAt, limit)
      .map((row): DeviceStatus => ({ ...statusOf(row), change: "offline", at, reason }));
    this.record(lost);
    return lost;
  }

  deleteOld(before: number, limit: number): number {
    const statuses = Number(this.#deleteStatuses.run(before, limit).changes);
    if (statuses >= limit) return statuses;
    return statuses + Number(this.#deleteDevices.run(before, limit - statuses).changes);
  }
}

function statusOf(row: Row): DeviceStatus {
  return deviceStatus({
    id: textOf(row, "id"),
    epoch: numberOf(row, "epoch"),
    node: textOf(row, "node"),
    revision: numberOf(row, "revision"),
    is_offline: numberOf(row, "is_offline"),
    node_started_at: textOf(row, "node_started_at"),
    address: textOf(row, "address"),
    connected_at: numberOf(row, "connected_at"),
    last_seen_at: numberOf(row, "last_seen_at"),
    at: numberOf(row, "at"),
    reason: textOrNull(row, "reason"),
  });
}
