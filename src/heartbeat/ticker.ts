/**
 * The ticker: one beat a period, and callbacks that run every so often. It shows that a process is
 * alive, so nothing that a callback does may stop it. What beats mean to others is beacon.ts.
 */
import { getLogger } from "@logtape/logtape";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import { formatDuration, MAX_DURATION_MS, parseDuration } from "../lifecycle/duration.ts";

const log = getLogger(["coxswain", "heartbeat"]);

/** Names a callback until it is unregistered. */
export type CallbackId = string & { readonly __brand: "CallbackId" };

export type HeartbeatCallback = () => unknown;

export interface HeartbeatOptions {
  /** From one beat to the next, in milliseconds. Default 1000. */
  readonly periodMs?: number;
  /** Tells others at once that this node is alive. Default: there is nobody to tell. */
  readonly alive?: () => Promise<void>;
  readonly clock?: Clock;
}

interface Registered {
  readonly id: CallbackId;
  readonly callback: HeartbeatCallback;
  readonly intervalMs: number;
  /** Monotonic instant from which it is due, always one of its own schedule. */
  dueAt: number;
  isRunning: boolean;
  /** Its first failure, and its first overrun, are for the operator; the rest only for debugging. */
  hasFailed: boolean;
  hasOverrun: boolean;
}

/**
 * Beats at `start + n × period` by the monotonic clock, so that it never drifts. Idle until started.
 *
 * Where the process was held up over several beats, the next beat counts all of them at once, and a
 * callback that was due several times runs once: `count` always tells the periods since the start, and
 * nothing runs in a burst.
 */
export class Heartbeat implements Component {
  readonly periodMs: number;
  readonly #clock: Clock;
  readonly #alive: () => Promise<void>;
  readonly #callbacks = new Map<CallbackId, Registered>();
  #startedAt: number | undefined;
  #count = 0;
  #timer: Timer | undefined;
  /** The instant that the present beat stands for, while its callbacks are started. */
  #beatAt: number | undefined;
  #lastId = 0;

  constructor(options: HeartbeatOptions = {}) {
    const { periodMs = 1_000, alive = () => Promise.resolve(), clock = systemClock } = options;
    this.periodMs = periodMs;
    this.#alive = alive;
    this.#clock = clock;
  }

  /** Beats since the start. */
  get count(): number {
    return this.#count;
  }

  /** Whether it beats: it was started, and the latest beat is less than three periods late. */
  get isBeating(): boolean {
    if (this.#startedAt === undefined || this.#timer === undefined) return false;
    return this.#clock.monotonic() - this.#instantOf(this.#count + 1) < 3 * this.periodMs;
  }

  /** Broadcasts a beacon now. Resolves when it was handed to the broker, or the broker is away. */
  alive(): Promise<void> {
    return this.#alive();
  }

  /**
   * Calls back every `interval`, for the first time after one interval, in the first beat at or after
   * the instant that it is due. Where it still runs when it is due again, that turn is left out.
   *
   * @param interval milliseconds or a duration such as "5s", at least one period.
   * @param id a name to be known by, another than any other's. Default: one is made.
   * @throws RangeError when the interval cannot be used, or the name is taken.
   */
  register(
    callback: HeartbeatCallback,
    interval: number | string,
    id = `heartbeat-${this.#lastId + 1}`,
  ): CallbackId {
    const intervalMs = this.#intervalOf(interval);
    const branded = id as CallbackId;
    if (this.#callbacks.has(branded)) {
      throw new RangeError(`Cannot register heartbeat callback "${id}": the name is taken`);
    }
    this.#lastId++;
    this.#callbacks.set(branded, {
      id: branded,
      callback,
      intervalMs,
      dueAt: this.#now() + intervalMs,
      isRunning: false,
      hasFailed: false,
      hasOverrun: false,
    });
    return branded;
  }

  /**
   * From now on it is not called any more, also where it is due in this very beat. What runs already
   * runs on. @returns whether there was such a callback.
   */
  unregister(id: string): boolean {
    return this.#callbacks.delete(id as CallbackId);
  }

  start(): Promise<void> {
    if (this.#startedAt !== undefined) return Promise.resolve();
    this.#startedAt = this.#clock.monotonic();
    for (const one of this.#callbacks.values()) one.dueAt = this.#startedAt + one.intervalMs;
    this.#arm();
    return Promise.resolve();
  }

  /** No further beat. Does not wait for callbacks, which may never end. */
  stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    return Promise.resolve();
  }

  #arm(): void {
    const delayMs = this.#instantOf(this.#count + 1) - this.#clock.monotonic();
    // Whole milliseconds and at least one, for a timer may fire a fraction of one early.
    this.#timer = this.#clock.after(Math.max(1, Math.ceil(delayMs)), () => this.#wake());
  }

  #wake(): void {
    const elapsedMs = this.#clock.monotonic() - (this.#startedAt ?? 0);
    const count = Math.floor(elapsedMs / this.periodMs);
    if (count > this.#count) this.#beat(count);
    // A callback may have stopped the heartbeat.
    if (this.#timer !== undefined) this.#arm();
  }

  #beat(count: number): void {
    this.#count = count;
    const beatAt = this.#instantOf(count);
    this.#beatAt = beatAt;
    // Those of before this beat; who is taken out meanwhile is not called.
    for (const one of [...this.#callbacks.values()]) {
      if (one.dueAt > beatAt || this.#callbacks.get(one.id) !== one) continue;
      const missed = Math.floor((beatAt - one.dueAt) / one.intervalMs);
      one.dueAt += (missed + 1) * one.intervalMs;
      this.#call(one);
    }
    this.#beatAt = undefined;
  }

  #call(one: Registered): void {
    if (one.isRunning) return this.#overran(one);
    one.isRunning = true;
    const over = () => {
      one.isRunning = false;
    };
    try {
      const result = one.callback();
      if (!(result instanceof Promise)) return over();
      result.then(over, (error: unknown) => {
        over();
        this.#failed(one, error);
      });
    } catch (error) {
      over();
      this.#failed(one, error);
    }
  }

  #failed(one: Registered, error: unknown): void {
    const fields = { callback: one.id, error };
    if (one.hasFailed) return log.debug("Heartbeat callback {callback} failed again", fields);
    one.hasFailed = true;
    log.error("Heartbeat callback {callback} failed, and is called on: {error}", fields);
  }

  #overran(one: Registered): void {
    const fields = { callback: one.id, intervalMs: one.intervalMs };
    if (one.hasOverrun) return log.debug("Heartbeat callback {callback} still runs", fields);
    one.hasOverrun = true;
    log.warn("Heartbeat callback {callback} still runs when it is due: left out", fields);
  }

  #instantOf(count: number): number {
    return (this.#startedAt ?? 0) + count * this.periodMs;
  }

  #now(): number {
    return this.#beatAt ?? this.#clock.monotonic();
  }

  #intervalOf(interval: number | string): number {
    const intervalMs = typeof interval === "string" ? parseDuration(interval) : interval;
    if (intervalMs >= this.periodMs && intervalMs <= MAX_DURATION_MS) return intervalMs;
    throw new RangeError(
      `Cannot call back every ${interval}: an interval from ${formatDuration(this.periodMs)}, ` +
        `one beat, to 24.8 days is needed`,
    );
  }
}
