/** Devices in PostgreSQL: each operation is one statement, and so a transaction of its own. */
import {
  afterChange,
  afterDevice,
  deviceChange,
  devicePage,
  type DeviceRow,
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
import { numberOf, rowsText, searchable, textOf, textOrNull } from "./columns.ts";
import type { Sql } from "./connections.ts";

/** Those of one device are written in the order of ids, so that two recorders never wait in a ring. */
export async function recordDevices(sql: Sql, changes: readonly DeviceChange[]): Promise<void> {
  const rows = rowsText(changes.map((change) => {
    const row = deviceRow(change);
    return {
      ...row,
      id: searchable(row.id),
      node: searchable(row.node),
      address: searchable(row.address),
      reason: row.reason === null ? null : searchable(row.reason),
    };
  }));
  await sql`SELECT coxswain.record_devices((${rows}::text)::json)`;
}

export async function findDevice(sql: Sql, id: string): Promise<DeviceChange | undefined> {
  const [row] = await sql`SELECT * FROM coxswain.devices WHERE id = ${searchable(id)}`;
  return row === undefined ? undefined : changeOf(row);
}

export async function listDevices(
  sql: Sql,
  state: DeviceState | undefined,
  limit: number,
  cursor?: string,
): Promise<DevicePage> {
  const after = cursor === undefined ? "" : searchable(afterDevice(cursor));
  const inState = state === undefined
    ? sql``
    : sql`AND is_offline = ${state === "offline" ? 1 : 0}`;
  const rows = await sql`
    SELECT * FROM coxswain.devices WHERE id > ${after}::text ${inState}
      ORDER BY id LIMIT ${limit + 1}`;
  return devicePage(rows.map(changeOf), limit, ({ id }) => [id]);
}

export async function deviceHistory(
  sql: Sql,
  id: string,
  limit: number,
  cursor?: string,
): Promise<DevicePage> {
  const [epoch, revision, isOffline] = cursor === undefined ? FROM_THE_LAST : afterChange(cursor);
  const rows = await sql`
    SELECT * FROM coxswain.device_changes
      WHERE id = ${searchable(id)}
        AND (epoch, revision, is_offline) < (${epoch}::bigint, ${revision}::bigint, ${isOffline}::bigint)
      ORDER BY epoch DESC, revision DESC, is_offline DESC LIMIT ${limit + 1}`;
  return devicePage(rows.map(changeOf), limit, placeOfChange);
}

export async function holdingNodes(sql: Sql): Promise<readonly HoldingNode[]> {
  const rows = await sql`
    SELECT node, min(connected_at) AS since FROM coxswain.devices
      WHERE is_offline = 0 GROUP BY node ORDER BY node`;
  return rows.map((row) => ({ node: textOf(row, "node"), since: numberOf(row, "since") }));
}

export async function loseDevices(
  sql: Sql,
  { node, connectedBefore = Number.MAX_SAFE_INTEGER, at, reason }: LostDevices,
  limit: number,
): Promise<readonly DeviceChange[]> {
  const rows = await sql`
    WITH held AS (
      SELECT id FROM coxswain.devices
        WHERE is_offline = 0 AND node = ${searchable(node)} AND connected_at < ${connectedBefore}
        ORDER BY id LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ), lost AS (
      UPDATE coxswain.devices d
        SET is_offline = 1, at = ${at}, reason = ${searchable(reason)}
        FROM held WHERE d.id = held.id RETURNING d.*
    ), remembered AS (
      INSERT INTO coxswain.device_changes SELECT * FROM lost ON CONFLICT DO NOTHING
    )
    SELECT * FROM lost ORDER BY id`;
  return rows.map(changeOf);
}

/** Rows that another recorder is deleting are left to it. */
export async function deleteOldDevices(sql: Sql, before: number, limit: number): Promise<number> {
  const { count: changes } = await sql`
    DELETE FROM coxswain.device_changes c USING (
      SELECT id, epoch, revision, is_offline FROM coxswain.device_changes WHERE at < ${before}
        ORDER BY at LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE (c.id, c.epoch, c.revision, c.is_offline)
      = (old.id, old.epoch, old.revision, old.is_offline)`;
  if (changes >= limit) return changes;
  const { count: devices } = await sql`
    DELETE FROM coxswain.devices d USING (
      SELECT id FROM coxswain.devices WHERE is_offline = 1 AND at < ${before}
        ORDER BY at LIMIT ${limit - changes} FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE d.id = old.id`;
  return changes + devices;
}

const FROM_THE_LAST = [Number.MAX_SAFE_INTEGER, 0, 0] as const;

function changeOf(row: Parameters<typeof textOf>[0]): DeviceChange {
  const read: DeviceRow = {
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
  };
  return deviceChange(read);
}
