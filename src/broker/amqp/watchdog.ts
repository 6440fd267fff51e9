/**
 * Watches one connection's silence. The client answers heartbeats and sends none of its own, so a
 * broker that is busy sending to us would hear nothing and hang up; and its idle timer counts what we
 * write, so it does not see a peer that is gone while we write. Incoming bytes alone count here.
 */
import type { Clock, Timer } from "../../lifecycle/clock.ts";

export interface WatchdogOptions {
  /** The negotiated heartbeat, in milliseconds. */
  readonly heartbeatMs: number;
  readonly clock: Clock;
  /** Bytes sent so far. */
  readonly sentBytes: () => number;
  /** Sends a heartbeat frame. */
  readonly beat: () => void;
  /** Nothing came in for two heartbeats (AMQP 0-9-1, section 4.2.7: the peer is dead). */
  readonly silent: (silentMs: number) => void;
}

export class Watchdog {
  readonly #options: WatchdogOptions;
  #lastReceivedAt: number;
  #sentBytes = 0;
  #dueAt = 0;
  #timer: Timer | undefined;

  constructor(options: WatchdogOptions) {
    this.#options = options;
    this.#lastReceivedAt = options.clock.monotonic();
    this.#sentBytes = options.sentBytes();
    this.#arm();
  }

  /** Something came in. */
  received(): void {
    this.#lastReceivedAt = this.#options.clock.monotonic();
  }

  /** Ends the watch. Idempotent. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    const { clock, heartbeatMs } = this.#options;
    this.#dueAt = clock.monotonic() + heartbeatMs / 2;
    this.#timer = clock.after(heartbeatMs / 2, () => this.#look());
  }

  #look(): void {
    const { clock, heartbeatMs, sentBytes, beat, silent } = this.#options;
    const now = clock.monotonic();
    // This process itself was held up: what came in meanwhile is read after this timer.
    if (now - this.#dueAt > heartbeatMs / 2) this.#lastReceivedAt = now;
    const silentMs = now - this.#lastReceivedAt;
    if (silentMs >= 2 * heartbeatMs) {
      this.stop();
      silent(silentMs);
      return;
    }
    if (sentBytes() === this.#sentBytes) beat();
    this.#sentBytes = sentBytes();
    this.#arm();
  }
}
