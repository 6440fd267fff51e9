/**
 * Which devices other nodes hold: fed by statuses and by what those nodes tell every so often, and
 * forgotten when nobody tells any more. Pure state; how words travel is directory_keeper.ts.
 */
import type { Clock } from "../lifecycle/clock.ts";
import type { LiveDevice } from "./devices.ts";
import type { DeviceStatus } from "./device_status.ts";
import { isLaterStatus } from "./device_status.ts";
import type { Held } from "./held_message.ts";

interface Entry {
  readonly address: string;
  readonly node: string;
  readonly nodeStartedAt: string;
  readonly epoch: number;
  readonly revision: number;
  readonly connectedAt: number;
  seenAt: number;
  /** Monotonic: when its node told of it last. */
  toldAt: number;
}

/** A connection elsewhere that somebody told of. */
export interface HeardConnection {
  readonly id: string;
  readonly epoch: number;
  readonly node: string;
}

/** Anybody may publish on the exchange: past so many, no more are believed. */
const MAX_DEVICES = 1_000_000;
const MAX_NODES = 10_000;

export class DeviceDirectory {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  /** Which start of a node told of its devices last. */
  readonly #startOf = new Map<string, string>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.size;
  }

  find(id: string): LiveDevice | undefined {
    const entry = this.#entries.get(id);
    return entry === undefined ? undefined : liveDevice(id, entry);
  }

  /** In no order. */
  list(): LiveDevice[] {
    return Array.from(this.#entries, ([id, entry]) => liveDevice(id, entry));
  }

  heardStatus(status: DeviceStatus): void {
    const { device, change, lastSeenAt: seenAt, revision = 0 } = status;
    const known = this.#entries.get(device);
    if (known !== undefined && !isLaterStatus(status, { ...known, change: "online" })) return;
    if (change === "offline") {
      // One of a later connection than ours: ours is over too.
      if (known !== undefined) this.#entries.delete(device);
      return;
    }
    const { address, node, nodeStartedAt, epoch, connectedAt } = status;
    this.#put(device, { address, node, nodeStartedAt, epoch, revision, connectedAt, seenAt });
  }

  /** What a node holds, or a part of it. */
  heardHeld({ node, nodeStartedAt, devices }: Held): void {
    const now = this.#clock.monotonic();
    for (const [id, epoch, connectedAt, seenAt, address = id] of devices) {
      const known = this.#entries.get(id);
      if (known !== undefined && known.epoch === epoch && known.node === node) {
        known.seenAt = Math.max(known.seenAt, seenAt);
        known.toldAt = now;
        continue;
      }
      const isLater = known === undefined || isLaterStatus(
        { epoch, node, change: "online" },
        { ...known, change: "online" },
      );
      if (!isLater) continue;
      this.#put(id, { address, node, nodeStartedAt, epoch, revision: 0, connectedAt, seenAt });
    }
    // A look at all devices for each thousand that are told would be a square.
    if (this.#startOf.get(node) === nodeStartedAt) return;
    if (this.#startOf.size >= MAX_NODES) this.#startOf.clear();
    this.#startOf.set(node, nodeStartedAt);
    // It was started anew: what it held before is over.
    this.#forget((entry) => entry.node === node && entry.nodeStartedAt !== nodeStartedAt);
  }

  /** A node is no more. */
  lost(node: string): void {
    this.#startOf.delete(node);
    this.#forget((entry) => entry.node === node);
  }

  /** Forgets what nobody told of for so long. @returns how many. */
  forgetSilent(silentMs: number): number {
    const since = this.#clock.monotonic() - silentMs;
    return this.#forget((entry) => entry.toldAt < since);
  }

  /** For so long nobody could be heard: all get their time again. */
  wasDeaf(): void {
    const now = this.#clock.monotonic();
    for (const entry of this.#entries.values()) entry.toldAt = now;
  }

  #put(id: string, entry: Omit<Entry, "toldAt">): void {
    if (this.#entries.size >= MAX_DEVICES && !this.#entries.has(id)) return;
    this.#entries.set(id, { ...entry, toldAt: this.#clock.monotonic() });
  }

  #forget(isOver: (entry: Entry) => boolean): number {
    let count = 0;
    for (const [id, entry] of this.#entries) {
      if (isOver(entry) && this.#entries.delete(id)) count++;
    }
    return count;
  }
}

function liveDevice(id: string, entry: Entry): LiveDevice {
  return {
    id,
    address: entry.address,
    node: entry.node,
    connectedAt: new Date(entry.connectedAt),
    lastSeenAt: new Date(entry.seenAt),
    epoch: entry.epoch,
  };
}
