/**
 * A node's heartbeat: the ticker with the callbacks that every node has. It logs a beat, broadcasts a
 * beacon and checks the broker connection, each every so often.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { BrokerAwayError, DeclarationError, PublishRefusedError } from "../broker/errors.ts";
import { heartbeatExchange } from "../broker/topology.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import { type Beacon, encodeBeacon, type Introduction } from "./beacon.ts";
import { Heartbeat } from "./ticker.ts";

const log = getLogger(["coxswain", "heartbeat"]);

/** How often the broker connection is checked. */
const CHECK_EVERY_MS = 60_000;

export interface HeartbeatSettings {
  /** A beat is logged so often, in milliseconds; 0: never. */
  readonly logEveryMs: number;
  /** A beacon is broadcast so often, in milliseconds; 0: only when it is asked for. */
  readonly broadcastEveryMs: number;
  /** Fanout exchange that beacons are published on. */
  readonly exchange: string;
}

/** What a beacon says besides what the heartbeat knows. */
export type NodeFacts = Pick<Beacon, "node" | "role" | "version" | "load" | "tasks">;

export interface NodeHeartbeatOptions {
  readonly broker: Broker;
  readonly settings: HeartbeatSettings;
  /** Asked for each beacon. */
  readonly facts: () => NodeFacts;
  readonly clock?: Clock;
}

export interface HeartbeatStatus {
  readonly count: number;
  /** Whether the ticker beats on time. */
  readonly isBeating: boolean;
  /** When the latest beacon was handed to the broker; absent: never. */
  readonly lastBeaconAt?: Date;
}

/** Thrown where the exchange for beacons cannot be used. */
export class HeartbeatExchangeError extends Error {
  override readonly name = "HeartbeatExchangeError";
}

export class NodeHeartbeat implements Component {
  /** For others to register callbacks with; before the start, too. */
  readonly ticker: Heartbeat;
  readonly #options: NodeHeartbeatOptions;
  readonly #clock: Clock;
  #startedAt: Date;
  #startedAtMonotonic: number;
  #lastBeaconAt: Date | undefined;

  constructor(options: NodeHeartbeatOptions) {
    const { clock = systemClock } = options;
    this.#options = options;
    this.#clock = clock;
    this.#startedAt = new Date(clock.now());
    this.#startedAtMonotonic = clock.monotonic();
    this.ticker = new Heartbeat({ clock, alive: () => this.broadcast() });
  }

  get status(): HeartbeatStatus {
    return {
      count: this.ticker.count,
      isBeating: this.ticker.isBeating,
      ...(this.#lastBeaconAt === undefined ? {} : { lastBeaconAt: this.#lastBeaconAt }),
    };
  }

  get introduction(): Introduction {
    const { node, role, version } = this.#options.facts();
    return {
      node,
      role,
      version,
      startedAt: this.#startedAt.toISOString(),
      uptimeMs: Math.round(this.#clock.monotonic() - this.#startedAtMonotonic),
      intervalMs: this.#options.settings.broadcastEveryMs,
    };
  }

  /**
   * @throws HeartbeatExchangeError where the exchange is another than we need.
   */
  async start(): Promise<void> {
    const { broker, settings: { exchange, broadcastEveryMs, logEveryMs } } = this.#options;
    await declareHeartbeatExchange(broker, exchange);
    if (logEveryMs > 0) this.ticker.register(() => this.#logBeat(), logEveryMs, "log");
    if (broadcastEveryMs > 0) {
      this.ticker.register(() => this.#beacon(), broadcastEveryMs, "beacon");
    }
    this.ticker.register(() => this.#checkBroker(), CHECK_EVERY_MS, "broker");
    await this.ticker.start();
    if (broadcastEveryMs > 0) await this.#beacon();
  }

  stop(): Promise<void> {
    return this.ticker.stop();
  }

  /** Answers who has just come and wants to know: with a beacon, where this node sends any. */
  asked(): void {
    if (this.#options.settings.broadcastEveryMs > 0) void this.#beacon();
  }

  /** @throws BrokerAwayError, PublishRefusedError */
  async broadcast(): Promise<void> {
    const { broker, facts, settings: { exchange } } = this.#options;
    const { load, tasks } = facts();
    const beacon: Beacon = { ...this.introduction, count: this.ticker.count, load, tasks };
    await broker.publish({
      exchange,
      routingKey: "",
      properties: { contentType: "application/json", type: "beacon" },
      body: encodeBeacon(beacon),
    });
    this.#lastBeaconAt = new Date(this.#clock.now());
  }

  /** Never rejects: the next one follows soon, and the loss of the broker is told by the broker. */
  async #beacon(): Promise<void> {
    try {
      await this.broadcast();
    } catch (error) {
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
      log.debug("A beacon was not sent: {reason}", { reason: error.message });
    }
  }

  #logBeat(): void {
    const { load: { consumers, ...load } } = this.#options.facts();
    log.info("Beat {count}", {
      count: this.ticker.count,
      ...load,
      liveConsumers: consumers.filter(({ isLive }) => isLive).length,
      consumers: consumers.length,
    });
  }

  /** A connection that is dead is replaced by the broker's adapter, which tells about it. */
  async #checkBroker(): Promise<void> {
    const { broker } = this.#options;
    if (broker.state.kind !== "connected") return;
    try {
      await broker.check();
    } catch (error) {
      if (!(error instanceof BrokerAwayError)) throw error;
      log.debug("The broker did not pass its check: {reason}", { reason: error.message });
    }
  }
}

/** @throws HeartbeatExchangeError where there is such an exchange of another kind. */
export async function declareHeartbeatExchange(broker: Broker, name: string): Promise<void> {
  try {
    await broker.declareExchange(heartbeatExchange(name));
  } catch (error) {
    if (!(error instanceof DeclarationError)) throw error;
    throw new HeartbeatExchangeError(
      `Cannot send beacons on exchange "${name}", which must be a durable fanout exchange: ` +
        `${error.message}. Another name is given with --heartbeat-exchange.`,
      { cause: error },
    );
  }
}
