/** A status of a device as adapters write it, and the cursors of lists of devices. */
import type { DeviceStatus, OfflineReason } from "../devices/device_status.ts";
import type { DeviceStatusPage } from "./device_store.ts";
import { BadCursorError } from "./store.ts";

/**
 * As the columns are named. The order of one device's statuses (`isLaterStatus`) is that of `epoch`,
 * `node`, `revision` and `is_offline`.
 */
export interface DeviceRow {
  readonly id: string;
  readonly epoch: number;
  readonly node: string;
  readonly revision: number;
  readonly is_offline: number;
  readonly node_started_at: string;
  readonly address: string;
  readonly connected_at: number;
  readonly last_seen_at: number;
  readonly at: number;
  readonly reason: string | null;
}

/** In the order of the tables. */
export const DEVICE_COLUMNS = [
  "id",
  "epoch",
  "node",
  "revision",
  "is_offline",
  "node_started_at",
  "address",
  "connected_at",
  "last_seen_at",
  "at",
  "reason",
] as const satisfies readonly (keyof DeviceRow)[];

export function deviceRow(status: DeviceStatus): DeviceRow {
  return {
    id: status.device,
    epoch: status.epoch,
    node: status.node,
    revision: status.revision ?? 0,
    is_offline: status.change === "offline" ? 1 : 0,
    node_started_at: status.nodeStartedAt,
    address: status.address,
    connected_at: status.connectedAt,
    last_seen_at: status.lastSeenAt,
    at: status.at,
    reason: status.reason ?? null,
  };
}

export function deviceStatus(row: DeviceRow): DeviceStatus {
  return {
    device: row.id,
    change: row.is_offline === 1 ? "offline" : "online",
    epoch: row.epoch,
    node: row.node,
    nodeStartedAt: row.node_started_at,
    address: row.address,
    at: row.at,
    connectedAt: row.connected_at,
    lastSeenAt: row.last_seen_at,
    ...(row.revision === 0 ? {} : { revision: row.revision }),
    ...(row.reason === null ? {} : { reason: row.reason as OfflineReason }),
  };
}

/**
 * A page of what was read, one more than the limit where there is a further page.
 * @param place what a cursor says of the last one of a page.
 */
export function devicePage(
  read: readonly DeviceStatus[],
  limit: number,
  place: (last: DeviceStatus) => readonly (string | number)[],
): DeviceStatusPage {
  const statuses = read.slice(0, limit);
  const last = statuses.at(-1);
  if (read.length <= limit || last === undefined) return { statuses };
  return { statuses, cursor: encodePlace(place(last)) };
}

/** A cursor: the place of the last one of a page, as text that stands in URLs. */
export function encodePlace(place: readonly (string | number)[]): string {
  return Buffer.from(JSON.stringify(place)).toString("base64url");
}

/** After which id the next page of devices begins. @throws BadCursorError */
export function afterDevice(cursor: string): string {
  const [id, ...rest] = parts(cursor);
  if (typeof id !== "string" || rest.length > 0) throw badCursor(cursor);
  return id;
}

/** Where a status stands among those of its device. */
export type DevicePlace = readonly [
  epoch: number,
  node: string,
  revision: number,
  isOffline: number,
];

/** Later than any. */
export const LAST_PLACE: DevicePlace = [Number.MAX_SAFE_INTEGER, "", 0, 0];

export function placeOf(status: DeviceStatus): DevicePlace {
  const { epoch, node, revision, is_offline } = deviceRow(status);
  return [epoch, node, revision, is_offline];
}

/** After which status the next page of a history begins. @throws BadCursorError */
export function afterStatus(cursor: string): DevicePlace {
  const [epoch, node, revision, isOffline] = parts(cursor);
  if (
    !isWhole(epoch) || typeof node !== "string" || !isWhole(revision) || !isWhole(isOffline)
  ) throw badCursor(cursor);
  return [epoch, node, revision, isOffline];
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function parts(cursor: string): readonly unknown[] {
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString("utf8"));
    if (Array.isArray(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw badCursor(cursor);
}

function badCursor(cursor: string): BadCursorError {
  return new BadCursorError(`Cannot read the cursor "${cursor.slice(0, 80)}": no list gave it`);
}
