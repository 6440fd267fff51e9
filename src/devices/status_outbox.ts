/**
 * Tells what happened to this node's devices, durably and in order: kept while the broker is away, the
 * last word of each device alone. So it never holds more than the devices that come and those that
 * somebody has heard of.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { BrokerAwayError } from "../broker/errors.ts";
import type { Clock, Timer } from "../lifecycle/clock.ts";
import { type DeviceStatus, statusMessage } from "./device_status.ts";

const log = getLogger(["coxswain", "devices"]);

/** Statuses that the broker has not confirmed. */
const WINDOW = 256;
/** After a failure that the broker's return does not end. */
const PAUSE_MS = 500;

interface Entry {
  readonly status: DeviceStatus;
  /** An online of this device was told, or may have been, that nothing has taken back. */
  readonly owes: boolean;
}

export class StatusOutbox {
  readonly #broker: Broker;
  readonly #clock: Clock;
  /** By device, in the order in which it has to be told. */
  readonly #pending = new Map<string, Entry>();
  /** Of devices whose status is on its way: what comes after it has to wait. */
  readonly #sent = new Set<string>();
  readonly #idle = new Set<() => void>();
  #pause: Timer | undefined;
  #unwatch: (() => void) | undefined;

  constructor(broker: Broker, clock: Clock) {
    this.#broker = broker;
    this.#clock = clock;
  }

  start(): void {
    this.#unwatch = this.#broker.watch(() => this.#pump());
  }

  /** Statuses that wait or are on their way. */
  get size(): number {
    return this.#pending.size + this.#sent.size;
  }

  push(status: DeviceStatus): void {
    const { device, change, epoch } = status;
    const before = this.#pending.get(device);
    const owes = before !== undefined && (before.owes || before.status.change === "offline");
    this.#pending.delete(device);
    // Somebody came and went, and nobody has heard of it.
    const isNothing = change === "offline" && before?.status.change === "online" &&
      before.status.epoch === epoch && !owes;
    if (!isNothing) this.#pending.set(device, { status, owes });
    this.#pump();
  }

  /** Resolves when all was told, or after so many milliseconds; tells how much was not. */
  async flushed(limitMs: number): Promise<number> {
    if (this.size > 0) {
      const done = Promise.withResolvers<void>();
      this.#idle.add(done.resolve);
      const timer = this.#clock.after(limitMs, done.resolve);
      await done.promise;
      timer.cancel();
      this.#idle.delete(done.resolve);
    }
    return this.size;
  }

  stop(): void {
    this.#unwatch?.();
    this.#pause?.cancel();
    this.#pending.clear();
  }

  #pump(): void {
    if (this.#pause !== undefined || this.#broker.state.kind !== "connected") return;
    for (const [device, { status }] of this.#pending) {
      if (this.#sent.size >= WINDOW) return;
      if (this.#sent.has(device)) continue;
      this.#pending.delete(device);
      this.#sent.add(device);
      void this.#send(status);
    }
    if (this.size > 0) return;
    for (const done of this.#idle) done();
  }

  async #send(status: DeviceStatus): Promise<void> {
    const { device } = status;
    try {
      await this.#broker.publish(statusMessage(status), { confirm: true });
      this.#sent.delete(device);
    } catch (error) {
      this.#sent.delete(device);
      this.#again(status);
      this.#pauseAfter(device, error);
    }
    this.#pump();
  }

  #pauseAfter(device: string, error: unknown): void {
    if (this.#pause !== undefined) return;
    if (!(error instanceof BrokerAwayError)) {
      log.warn("A status of a device was not taken, trying on: {reason}", {
        device,
        reason: error instanceof Error ? error.message : String(error),
      });
    }
    this.#pause = this.#clock.after(PAUSE_MS, () => {
      this.#pause = undefined;
      this.#pump();
    });
  }

  /** It may have been told, or not. */
  #again(status: DeviceStatus): void {
    const later = this.#pending.get(status.device);
    if (later === undefined) {
      this.#pending.set(status.device, { status, owes: status.change === "online" });
    } else this.#pending.set(status.device, { ...later, owes: true });
  }
}
