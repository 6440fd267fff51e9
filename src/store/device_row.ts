/** A device's change as adapters write it, and the cursors of lists of devices. */
import type { DeviceChange, DevicePage } from "./device_store.ts";
import { BadCursorError } from "./store.ts";

/** As the columns are named. `is_offline` is the last part of a change's place in its device's order. */
export interface DeviceRow {
  readonly id: string;
  readonly epoch: number;
  readonly revision: number;
  readonly is_offline: number;
  readonly node: string;
  readonly address: string;
  readonly connected_at: number;
  readonly last_seen_at: number;
  readonly at: number;
  readonly reason: string | null;
}

/** In the order in which adapters name them. */
export const DEVICE_COLUMNS =
  "id, epoch, revision, is_offline, node, address, connected_at, last_seen_at, at, reason";

export function deviceRow(change: DeviceChange): DeviceRow {
  return {
    id: change.id,
    epoch: change.epoch,
    revision: change.revision,
    is_offline: change.state === "offline" ? 1 : 0,
    node: change.node,
    address: change.address,
    connected_at: change.connectedAt,
    last_seen_at: change.lastSeenAt,
    at: change.at,
    reason: change.reason ?? null,
  };
}

export function deviceChange(row: DeviceRow): DeviceChange {
  return {
    id: row.id,
    state: row.is_offline === 1 ? "offline" : "online",
    node: row.node,
    address: row.address,
    epoch: row.epoch,
    revision: row.revision,
    connectedAt: row.connected_at,
    lastSeenAt: row.last_seen_at,
    at: row.at,
    ...(row.reason === null ? {} : { reason: row.reason }),
  };
}

/**
 * A page of what was read, one more than the limit where there is a further page.
 * @param place what a cursor says of the last one of a page.
 */
export function devicePage(
  changes: readonly DeviceChange[],
  limit: number,
  place: (last: DeviceChange) => readonly (string | number)[],
): DevicePage {
  const devices = changes.slice(0, limit);
  const last = devices.at(-1);
  if (changes.length <= limit || last === undefined) return { devices };
  return { devices, cursor: Buffer.from(JSON.stringify(place(last))).toString("base64url") };
}

/** After which id the next page of devices begins. @throws BadCursorError */
export function afterDevice(cursor: string): string {
  const [id, ...rest] = parts(cursor);
  if (typeof id !== "string" || rest.length > 0) throw badCursor(cursor);
  return id;
}

/** After which change the next page of a history begins. @throws BadCursorError */
export function afterChange(
  cursor: string,
): readonly [epoch: number, revision: number, isOffline: number] {
  const [epoch, revision, isOffline] = parts(cursor);
  if (!isWhole(epoch) || !isWhole(revision) || !isWhole(isOffline)) throw badCursor(cursor);
  return [epoch, revision, isOffline];
}

export function placeOfChange(change: DeviceChange): readonly number[] {
  const { epoch, revision, is_offline } = deviceRow(change);
  return [epoch, revision, is_offline];
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
