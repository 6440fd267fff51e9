/**
 * Sends a worker's events on `celeryev`: heartbeats, and its tasks' events in groups. It never holds a
 * task up: what the broker does not take in time is dropped and counted.
 */
import { loadavg } from "node:os";
import { getLogger } from "@logtape/logtape";
import type { Broker, BrokerState } from "../../broker/broker.ts";
import { BrokerAwayError, DeclarationError, PublishRefusedError } from "../../broker/errors.ts";
import { CELERY_EVENTS_EXCHANGE } from "../../broker/topology.ts";
import { JSON_TYPE } from "../../calls/wire/names.ts";
import { type Clock, systemClock, type Timer } from "../../lifecycle/clock.ts";
import { VERSION } from "../../version.ts";
import type { LogicalClock } from "../logical_clock.ts";
import {
  type EventSource,
  type TaskEvent,
  taskEventJson,
  workerEventJson,
  type WorkerEventType,
  type WorkerFigures,
} from "./event.ts";

const log = getLogger(["coxswain", "celery"]);

/** As often as Celery's workers; who is not heard for twice as long counts as offline. */
const HEARTBEAT_MS = 2_000;
/** How long the first event of a group waits for others. */
const GATHER_MS = 20;
/** Events of a group: some 30 KB. */
const MAX_GROUP = 100;
/** Events that wait for the broker. */
const MAX_WAITING = 2_000;
/** How long the last words may take. */
const FAREWELL_MS = 1_000;

export interface EventSenderOptions {
  readonly broker: Broker;
  /** The worker's name among Celery's. */
  readonly name: string;
  readonly logicalClock: LogicalClock;
  readonly figures: () => Pick<WorkerFigures, "active" | "processed">;
  readonly clock?: Clock;
}

/** Silent until told otherwise. */
export class EventSender {
  readonly #options: EventSenderOptions;
  readonly #clock: Clock;
  readonly #source: EventSource;
  /** The exchange is there and heartbeats go on; tasks' events may be told besides. */
  #isOnline = false;
  #tellsTasks = false;
  #waiting: string[] = [];
  #dropped = 0;
  /** A group is on its way. */
  #sending: Promise<void> | undefined;
  #gathering: Timer | undefined;
  #beating: Timer | undefined;
  #unwatch: (() => void) | undefined;

  constructor(options: EventSenderOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#source = {
      hostname: options.name,
      pid: process.pid,
      utcOffset: Math.trunc(-new Date(this.#clock.now()).getTimezoneOffset() / 60),
    };
  }

  /** Whether events of tasks are told: ask before making one. */
  get tellsTasks(): boolean {
    return this.#tellsTasks;
  }

  /** Events that the broker did not take in time, since the start. */
  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Tells tasks' events from now on, and heartbeats; or no tasks' events any more, while heartbeats go
   * on, as in Celery. @returns whether that is new.
   * @throws DeclarationError where the exchange cannot be had; BrokerAwayError
   */
  async tell(isWanted: boolean): Promise<boolean> {
    if (isWanted === this.#tellsTasks) return false;
    if (isWanted) await this.#goOnline();
    this.#tellsTasks = isWanted;
    return true;
  }

  /** Says at once that the worker is alive, where it tells events at all. */
  beat(): void {
    if (this.#isOnline) void this.#say("worker-heartbeat");
  }

  /** Takes an event over. Never waits, never throws. */
  task(uuid: string, event: TaskEvent): void {
    if (!this.#tellsTasks) return;
    if (this.#waiting.length >= MAX_WAITING) {
      if (this.#dropped++ % MAX_WAITING === 0) {
        log.warn("Events of tasks are dropped: {waiting} wait for the broker", {
          waiting: this.#waiting.length,
          dropped: this.#dropped,
        });
      }
      return;
    }
    this.#waiting.push(
      taskEventJson(event, uuid, this.#source, {
        clock: this.#options.logicalClock.forward(),
        atMs: this.#clock.now(),
      }),
    );
    if (this.#waiting.length >= MAX_GROUP) this.#flush();
    else this.#gathering ??= this.#clock.after(GATHER_MS, () => this.#flush());
  }

  /** Says goodbye, after what still waits. Idempotent. */
  async stop(): Promise<void> {
    this.#tellsTasks = false;
    this.#beating?.cancel();
    this.#gathering?.cancel();
    this.#unwatch?.();
    if (!this.#isOnline) return;
    this.#isOnline = false;
    const late = Promise.withResolvers<void>();
    const timer = this.#clock.after(FAREWELL_MS, late.resolve);
    this.#flush();
    await Promise.race([this.#sending, late.promise]);
    await Promise.race([this.#say("worker-offline"), late.promise]);
    timer.cancel();
  }

  async #goOnline(): Promise<void> {
    if (this.#isOnline) return;
    const { broker } = this.#options;
    await broker.declareExchange(CELERY_EVENTS_EXCHANGE);
    this.#isOnline = true;
    this.#unwatch = broker.watch((state) => this.#onBroker(state));
    void this.#say("worker-online");
    this.#beatLater();
  }

  #onBroker({ kind }: BrokerState): void {
    if (kind === "connected") void this.#say("worker-online");
  }

  #beatLater(): void {
    this.#beating = this.#clock.after(HEARTBEAT_MS, () => {
      if (!this.#isOnline) return;
      void this.#say("worker-heartbeat");
      this.#beatLater();
    });
  }

  async #say(type: WorkerEventType): Promise<void> {
    const { logicalClock, figures } = this.#options;
    const json = workerEventJson(
      type,
      this.#source,
      { ...figures(), loadAverage: loadavg() },
      {
        clock: logicalClock.forward(),
        atMs: this.#clock.now(),
        freqMs: HEARTBEAT_MS,
        version: VERSION,
      },
    );
    await this.#publish(type.replace("-", "."), json);
  }

  /** One group after the other; what comes meanwhile is the next one. */
  #flush(): void {
    this.#gathering?.cancel();
    this.#gathering = undefined;
    if (this.#sending !== undefined || this.#waiting.length === 0) return;
    const group = this.#waiting;
    this.#waiting = [];
    this.#sending = this.#publish("task.multi", `[${group.join(",")}]`).finally(() => {
      this.#sending = undefined;
      if (this.#waiting.length > 0) this.#flush();
    });
  }

  /** Never rejects: events are for those who listen now. */
  async #publish(routingKey: string, json: string): Promise<void> {
    const { broker } = this.#options;
    try {
      await broker.publish({
        exchange: CELERY_EVENTS_EXCHANGE.name,
        routingKey,
        properties: {
          contentType: JSON_TYPE,
          contentEncoding: "utf-8",
          persistent: false,
          headers: { hostname: this.#source.hostname },
        },
        body: encoder.encode(json),
      });
    } catch (error) {
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
      log.debug("Events were not sent: {reason}", { routingKey, reason: error.message });
    }
  }
}

const encoder = new TextEncoder();

/** Where the exchange cannot be had, a worker goes on without. @returns whether it is told. */
export async function tellWherePossible(sender: EventSender): Promise<boolean> {
  try {
    return await sender.tell(true);
  } catch (error) {
    if (!(error instanceof DeclarationError)) throw error;
    log.warn("No events are told: {reason}", { reason: error.message });
    return false;
  }
}
