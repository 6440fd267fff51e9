/** Devices in PostgreSQL: each operation is one statement, and so a transaction of its own. */
import type { DeviceStatus } from "../../devices/device_status.ts";
import {
  afterDevice,
  afterStatus,
  devicePage,
  deviceRow,
  deviceStatus,
  LAST_PLACE,
  placeOf,
} from "../device_row.ts";
import type { DeviceState, DeviceStatusPage, LostDevices, NodeStart } from "../device_store.ts";
import { numberOf, rowsText, searchable, textOf, textOrNull } from "./columns.ts";
import type { Sql } from "./connections.ts";

export async function recordDevices(sql: Sql, statuses: readonly DeviceStatus[]): Promise<void> {
  const rows = rowsText(statuses.map((status) => {
    const row = deviceRow(status);
    return {
      ...row,
      id: searchable(row.id),
      node: searchable(row.node),
      node_started_at: searchable(row.node_started_at),
      address: searchable(row.address),
    };
  }));
  await sql`SELECT coxswain.record_devices((${rows}::text)::json)`;
}

export async function findDevice(sql: Sql, id: string): Promise<DeviceStatus | undefined> {
  const [row] = await sql`SELECT * FROM coxswain.devices WHERE id = ${searchable(id)}`;
  return row === undefined ? undefined : statusOf(row);
}

export async function listDevices(
  sql: Sql,
  state: DeviceState | undefined,
  limit: number,
  cursor?: string,
): Promise<DeviceStatusPage> {
  const after = cursor === undefined ? "" : searchable(afterDevice(cursor));
  const inState = state === undefined
    ? sql``
    : sql`AND is_offline = ${state === "offline" ? 1 : 0}`;
  const rows = await sql`
    SELECT * FROM coxswain.devices WHERE id > ${after}::text ${inState}
      ORDER BY id LIMIT ${limit + 1}`;
  return devicePage(rows.map(statusOf), limit, ({ device }) => [device]);
}

export async function deviceHistory(
  sql: Sql,
  id: string,
  limit: number,
  cursor?: string,
): Promise<DeviceStatusPage> {
  const [epoch, node, revision, isOffline] = cursor === undefined
    ? LAST_PLACE
    : afterStatus(cursor);
  const rows = await sql`
    SELECT * FROM coxswain.device_statuses
      WHERE id = ${searchable(id)}
        AND (epoch, node, revision, is_offline) <
          (${epoch}::bigint, ${searchable(node)}::text, ${revision}::bigint, ${isOffline}::bigint)
      ORDER BY epoch DESC, node DESC, revision DESC, is_offline DESC LIMIT ${limit + 1}`;
  return devicePage(rows.map(statusOf), limit, placeOf);
}

export async function holdingNodes(sql: Sql): Promise<readonly NodeStart[]> {
  const rows = await sql`
    SELECT DISTINCT node, node_started_at FROM coxswain.devices
      WHERE is_offline = 0 ORDER BY node, node_started_at`;
  return rows.map((row) => ({
    node: textOf(row, "node"),
    nodeStartedAt: textOf(row, "node_started_at"),
  }));
}

export async function loseDevices(
  sql: Sql,
  { node, nodeStartedAt, at, reason }: LostDevices,
  limit: number,
): Promise<readonly DeviceStatus[]> {
  const rows = await sql`
    WITH held AS (
      SELECT id FROM coxswain.devices
        WHERE is_offline = 0 AND node = ${searchable(node)}
          AND node_started_at = ${searchable(nodeStartedAt)}
        ORDER BY id LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ), lost AS (
      UPDATE coxswain.devices d
        SET is_offline = 1, at = ${at}, reason = ${reason}
        FROM held WHERE d.id = held.id RETURNING d.*
    ), remembered AS (
      INSERT INTO coxswain.device_statuses SELECT * FROM lost ON CONFLICT DO NOTHING
    )
    SELECT * FROM lost ORDER BY id`;
  return rows.map(statusOf);
}

/** Rows that another recorder is deleting are left to it. */
export async function deleteOldDevices(sql: Sql, before: number, limit: number): Promise<number> {
  const { count: statuses } = await sql`
    DELETE FROM coxswain.device_statuses c USING (
      SELECT id, epoch, node, revision, is_offline FROM coxswain.device_statuses WHERE at < ${before}
        ORDER BY at LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE (c.id, c.epoch, c.node, c.revision, c.is_offline)
      = (old.id, old.epoch, old.node, old.revision, old.is_offline)`;
  if (statuses >= limit) return statuses;
  const { count: devices } = await sql`
    DELETE FROM coxswain.devices d USING (
      SELECT id FROM coxswain.devices WHERE is_offline = 1 AND at < ${before}
        ORDER BY at LIMIT ${limit - statuses} FOR UPDATE SKIP LOCKED
    ) AS old
    WHERE d.id = old.id`;
  return statuses + devices;
}

function statusOf(row: Parameters<typeof textOf>[0]): DeviceStatus {
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
