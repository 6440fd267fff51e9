/**
 * PORT, the part of devices: which devices are there, where, and what became of them. What holds for
 * every method of the store holds here (store.ts).
 *
 * Statuses of a device have an order of their own (`isLaterStatus`), whatever the order in which they
 * come. A device is as the last of them in that order says, so that a late offline of an older
 * connection never undoes an online of a younger one.
 */
import type { DeviceStatus, OfflineReason } from "../devices/device_status.ts";

export type DeviceState = DeviceStatus["change"];

export interface DeviceStatusPage {
  readonly statuses: readonly DeviceStatus[];
  /** Where the next page begins; absent on the last one. */
  readonly cursor?: string;
}

/** One start of a node, as statuses name it. */
export interface NodeStart {
  readonly node: string;
  /** ISO 8601. */
  readonly nodeStartedAt: string;
}

/** Whose devices are offline now, all at once. */
export interface LostDevices extends NodeStart {
  readonly at: number;
  readonly reason: OfflineReason;
}

export interface DeviceStore {
  /**
   * Records statuses, all or none. On disk when it resolves. Idempotent: what was recorded before
   * changes nothing.
   * @param statuses any number, in any order; a few hundred are quickest.
   */
  recordDevices(statuses: readonly DeviceStatus[]): Promise<void>;
  /** The last status of a device; undefined: none was ever recorded, or it is forgotten. */
  device(id: string): Promise<DeviceStatus | undefined>;
  /**
   * The last status of each device, sorted by its id.
   * @param state absent: any.
   * @param limit 1 to 1,000.
   * @param cursor of the page before.
   * @throws BadCursorError
   */
  devices(
    state: DeviceState | undefined,
    limit: number,
    cursor?: string,
  ): Promise<DeviceStatusPage>;
  /**
   * All that became of one device, the last status first.
   * @param limit 1 to 1,000.
   * @throws BadCursorError
   */
  deviceHistory(id: string, limit: number, cursor?: string): Promise<DeviceStatusPage>;
  /** Starts of nodes that devices are online at, sorted. */
  holdingNodes(): Promise<readonly NodeStart[]>;
  /**
   * Sets devices that are online at a start of a node offline, in one short transaction.
   * @param limit 1 to 1,000.
   * @returns the statuses that were recorded: as many as `limit`, and there may be more.
   */
  loseDevices(lost: LostDevices, limit: number): Promise<readonly DeviceStatus[]>;
  /**
   * Deletes statuses from before an instant, the oldest first, and devices that are offline since then.
   * @returns how many were deleted: as many as `limit`, and there may be more.
   */
  deleteOldDevices(before: number, limit: number): Promise<number>;
}
