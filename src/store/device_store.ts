/**
 * PORT, the part of devices: which devices are there, where, and what became of them. What holds for
 * every method of the store holds here (store.ts).
 *
 * Changes of a device have an order of their own, whatever the order in which they come: by epoch, then
 * by revision, and offline after online. A device is as the last of them in that order says, so that a
 * late offline of an older connection never undoes an online of a younger one.
 */

export type DeviceState = "online" | "offline";

/** What a gateway tells of one connection of a device. */
export interface DeviceChange {
  readonly id: string;
  readonly state: DeviceState;
  /** The node that holds, or held, its connection. */
  readonly node: string;
  /** Where it connected from. */
  readonly address: string;
  /** Of the connection: a younger one has a larger number. */
  readonly epoch: number;
  /** Grows each time that one connection is told online again, after somebody took it for lost. */
  readonly revision: number;
  readonly connectedAt: number;
  /** When it last sent something, as far as was known then. */
  readonly lastSeenAt: number;
  /** When it changed. */
  readonly at: number;
  /** Why it went offline, a word. */
  readonly reason?: string;
}

export interface DevicePage {
  readonly devices: readonly DeviceChange[];
  /** Where the next page begins; absent on the last one. */
  readonly cursor?: string;
}

/** A node that devices are online at, as far as is recorded. */
export interface HoldingNode {
  readonly node: string;
  /** When the longest connected of them connected. */
  readonly since: number;
}

/** Whose devices are offline now, all at once. */
export interface LostDevices {
  readonly node: string;
  /** Only those that connected before this; absent: all. */
  readonly connectedBefore?: number;
  readonly at: number;
  readonly reason: string;
}

export interface DeviceStore {
  /**
   * Records changes, all or none. On disk when it resolves. Idempotent by id, epoch, revision and
   * state: what was recorded before changes nothing.
   * @param changes any number, in any order; a few hundred are quickest.
   */
  recordDevices(changes: readonly DeviceChange[]): Promise<void>;
  /** A device as its last change says; undefined: none was ever recorded, or it is forgotten. */
  device(id: string): Promise<DeviceChange | undefined>;
  /**
   * Devices as their last changes say, sorted by id.
   * @param state absent: in any.
   * @param limit 1 to 1,000.
   * @param cursor of the page before.
   * @throws BadCursorError
   */
  devices(state: DeviceState | undefined, limit: number, cursor?: string): Promise<DevicePage>;
  /**
   * What became of one device, the last change first.
   * @param limit 1 to 1,000.
   * @throws BadCursorError
   */
  deviceHistory(id: string, limit: number, cursor?: string): Promise<DevicePage>;
  /** Nodes with devices that are online, sorted. */
  holdingNodes(): Promise<readonly HoldingNode[]>;
  /**
   * Sets devices that are online at a node offline, in one short transaction.
   * @param limit 1 to 1,000.
   * @returns the changes that were recorded: as many as `limit`, and there may be more.
   */
  loseDevices(lost: LostDevices, limit: number): Promise<readonly DeviceChange[]>;
  /**
   * Deletes changes from before an instant, the oldest first, and devices that are offline since then.
   * @returns how many were deleted: as many as `limit`, and there may be more.
   */
  deleteOldDevices(before: number, limit: number): Promise<number>;
}
