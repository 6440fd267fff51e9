/** Devices in SQLite. Synchronous; who opens transactions is sqlite_store.ts. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import {
  afterChange,
  afterDevice,
  DEVICE_COLUMNS,
  deviceChange,
  devicePage,
  deviceRow,
  placeOfChange,
} from "../device_row.ts";
import type {
  DeviceChange,
  DevicePage,
  DeviceState,
  HoldingNode,
  LostDevices,
} from "../device_store.ts";
import { numberOf, type Row, textOf, textOrNull } from "./columns.ts";

export class DeviceTable {
  readonly #remember: StatementSync;
  readonly #become: StatementSync;
  readonly #find: StatementSync;
  readonly #page: StatementSync;
  readonly #pageOfAll: StatementSync;
  readonly #history: StatementSync;
  readonly #holding: StatementSync;
  readonly #online: StatementSync;
  readonly #deleteChanges: StatementSync;
  readonly #deleteDevices: StatementSync;

  constructor(database: DatabaseSync) {
    const prepare = (sql: string) => database.prepare(sql);
    const values = "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    this.#remember = prepare(
      `INSERT OR IGNORE INTO device_changes (${DEVICE_COLUMNS}) ${values}`,
    );
    this.#become = prepare(
      `INSERT INTO devices (${DEVICE_COLUMNS}) ${values} ON CONFLICT (id) DO UPDATE SET
         epoch = excluded.epoch, revision = excluded.revision, is_offline = excluded.is_offline,
         node = excluded.node, address = excluded.address, connected_at = excluded.connected_at,
         last_seen_at = excluded.last_seen_at, at = excluded.at, reason = excluded.reason
         WHERE (excluded.epoch, excluded.revision, excluded.is_offline) >
           (devices.epoch, devices.revision, devices.is_offline)`,
    );
    this.#find = prepare("SELECT * FROM devices WHERE id = ?");
    this.#page = prepare(
      "SELECT * FROM devices WHERE is_offline = ? AND id > ? ORDER BY id LIMIT ?",
    );
    this.#pageOfAll = prepare("SELECT * FROM devices WHERE id > ? ORDER BY id LIMIT ?");
    this.#history = prepare(
      `SELECT * FROM device_changes
         WHERE id = ? AND (epoch, revision, is_offline) < (?, ?, ?)
         ORDER BY epoch DESC, revision DESC, is_offline DESC LIMIT ?`,
    );
    this.#holding = prepare(
      `SELECT node, min(connected_at) AS since FROM devices INDEXED BY devices_online
         WHERE is_offline = 0 GROUP BY node ORDER BY node`,
    );
    this.#online = prepare(
      `SELECT * FROM devices INDEXED BY devices_online
         WHERE is_offline = 0 AND node = ? AND connected_at < ? LIMIT ?`,
    );
    this.#deleteChanges = prepare(
      `DELETE FROM device_changes WHERE (id, epoch, revision, is_offline) IN
         (SELECT id, epoch, revision, is_offline FROM device_changes WHERE at < ?
            ORDER BY at LIMIT ?)`,
    );
    this.#deleteDevices = prepare(
      `DELETE FROM devices WHERE id IN
         (SELECT id FROM devices INDEXED BY devices_offline WHERE is_offline = 1 AND at < ?
            ORDER BY at LIMIT ?)`,
    );
  }

  record(changes: readonly DeviceChange[]): void {
    for (const change of changes) {
      const row = deviceRow(change);
      const values = [
        row.id,
        row.epoch,
        row.revision,
        row.is_offline,
        row.node,
        row.address,
        row.connected_at,
        row.last_seen_at,
        row.at,
        row.reason,
      ];
      if (Number(this.#remember.run(...values).changes) > 0) this.#become.run(...values);
    }
  }

  find(id: string): DeviceChange | undefined {
    const row = this.#find.get(id);
    return row === undefined ? undefined : changeOf(row);
  }

  list(state: DeviceState | undefined, limit: number, cursor?: string): DevicePage {
    const after = cursor === undefined ? "" : afterDevice(cursor);
    const rows = state === undefined
      ? this.#pageOfAll.all(after, limit + 1)
      : this.#page.all(state === "offline" ? 1 : 0, after, limit + 1);
    return devicePage(rows.map(changeOf), limit, ({ id }) => [id]);
  }

  history(id: string, limit: number, cursor?: string): DevicePage {
    const after = cursor === undefined ? FROM_THE_LAST : afterChange(cursor);
    const rows = this.#history.all(id, ...after, limit + 1);
    return devicePage(rows.map(changeOf), limit, placeOfChange);
  }

  holding(): readonly HoldingNode[] {
    return this.#holding.all()
      .map((row) => ({ node: textOf(row, "node"), since: numberOf(row, "since") }));
  }

  lose(
    { node, connectedBefore = Number.MAX_SAFE_INTEGER, at, reason }: LostDevices,
    limit: number,
  ): readonly DeviceChange[] {
    const lost = this.#online.all(node, connectedBefore, limit)
      .map((row): DeviceChange => ({ ...changeOf(row), state: "offline", at, reason }));
    this.record(lost);
    return lost;
  }

  deleteOld(before: number, limit: number): number {
    const changes = Number(this.#deleteChanges.run(before, limit).changes);
    if (changes >= limit) return changes;
    return changes + Number(this.#deleteDevices.run(before, limit - changes).changes);
  }
}

const FROM_THE_LAST = [Number.MAX_SAFE_INTEGER, 0, 0] as const;

function changeOf(row: Row): DeviceChange {
  return deviceChange({
    id: textOf(row, "id"),
    epoch: numberOf(row, "epoch"),
    revision: numberOf(row, "revision"),
    is_offline: numberOf(row, "is_offline"),
    node: textOf(row, "node"),
    address: textOf(row, "address"),
    connected_at: numberOf(row, "connected_at"),
    last_seen_at: numberOf(row, "last_seen_at"),
    at: numberOf(row, "at"),
    reason: textOrNull(row, "reason"),
  });
}
