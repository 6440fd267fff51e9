/**
 * Sets devices offline whose gateway is no more and did not say so: killed, cut off, started anew under
 * its name. It looks at what the store holds online and at who is there, so that it makes no difference
 * whether it saw the node go. What it sets is told to everybody, as the gateway would have done it.
 *
 * Each recorder does it, not only the one that leads: that one may have been the gateway, and its lease
 * ends later than the node is known to be gone. A row is set by one of them alone.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Broker } from "../../broker/broker.ts";
import { type DeviceStatus, statusMessage } from "../../devices/device_status.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import type { KnownNode, RosterEvent } from "../../nodes/roster.ts";
import type { DeviceStore, NodeStart } from "../../store/device_store.ts";
import { type PatientLoop, runPatiently } from "./patient_loop.ts";

const log = getLogger(["coxswain", "recorder"]);

const LOOK_EVERY_MS = 5_000;
const BITE = 200;
/** A node that leaves tells of its devices itself, when what it runs has ended. */
const LEAVING_PATIENCE_MS = 60_000;
/** A node that nobody has heard of may not have been heard yet: they answer when they are asked. */
const STRANGER_PATIENCE_MS = 10_000;

/** Who is there. */
export interface NodesThere {
  find(id: string): KnownNode | undefined;
  watch(listener: (event: RosterEvent) => void): () => void;
}

export interface LostGatewaysOptions {
  readonly broker: Broker;
  readonly store: DeviceStore;
  readonly nodes: NodesThere;
  /** This node's id: it is there, whoever misses its beacons. */
  readonly node: string;
  /** Whether this node records now. */
  readonly isRecording: () => boolean;
  readonly clock: Clock;
}

/** Whether a start of a node still holds its devices, or for how long that is believed of it. */
export type Holding = "holds" | "lost" | { readonly patienceMs: number };

export function holdingOf({ nodeStartedAt }: NodeStart, known: KnownNode | undefined): Holding {
  if (known === undefined) return { patienceMs: STRANGER_PATIENCE_MS };
  if (known.startedAt !== nodeStartedAt) {
    // One name, two starts: the earlier is no more.
    return Date.parse(known.startedAt ?? "") > Date.parse(nodeStartedAt)
      ? "lost"
      : { patienceMs: STRANGER_PATIENCE_MS };
  }
  switch (known.state) {
    case "alive":
    case "late":
    case "unknown":
      return "holds";
    case "left":
      return { patienceMs: LEAVING_PATIENCE_MS };
    case "gone":
      return "lost";
  }
}

export class LostGateways implements PatientLoop {
  readonly name = "Setting devices of lost gateways offline";
  readonly alarm: Alarm;
  readonly #options: LostGatewaysOptions;
  /** Monotonic instants since which starts of nodes are doubted, by their keys. */
  #doubtedSince: ReadonlyMap<string, number> = new Map();

  constructor(options: LostGatewaysOptions) {
    this.#options = options;
    this.alarm = new Alarm(options.clock);
  }

  /** Does it until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const unwatch = this.#options.nodes.watch(({ kind }) => {
      if (kind === "gone" || kind === "left" || kind === "joined") this.alarm.ring();
    });
    await runPatiently(this, signal);
    unwatch();
  }

  async turn(signal: AbortSignal): Promise<number> {
    const { broker, store, nodes, node, isRecording, clock } = this.#options;
    // Whoever hears nobody does not know who is there.
    if (broker.state.kind !== "connected" || !isRecording()) {
      this.#doubtedSince = new Map();
      return LOOK_EVERY_MS;
    }
    const now = clock.monotonic();
    const doubted = new Map<string, number>();
    let pauseMs = LOOK_EVERY_MS;
    for (const start of await store.holdingNodes()) {
      const known = nodes.find(start.node);
      const isSelf = start.node === node && known?.startedAt === start.nodeStartedAt;
      const holding = isSelf ? "holds" : holdingOf(start, known);
      if (holding === "holds") continue;
      const key = JSON.stringify(start);
      const since = this.#doubtedSince.get(key) ?? now;
      const leftMs = holding === "lost" ? 0 : since + holding.patienceMs - now;
      if (leftMs <= 0) await this.#lose(start, signal);
      else {
        doubted.set(key, since);
        pauseMs = Math.min(pauseMs, leftMs);
      }
    }
    this.#doubtedSince = doubted;
    return pauseMs;
  }

  async #lose(start: NodeStart, signal: AbortSignal): Promise<void> {
    const { store, clock } = this.#options;
    const lost = { ...start, at: clock.now(), reason: "node-gone" } as const;
    let count = 0;
    for (let isMore = true; isMore && !signal.aborted;) {
      const statuses = await store.loseDevices(lost, BITE);
      count += statuses.length;
      isMore = statuses.length >= BITE;
      await this.#tell(statuses);
    }
    if (count === 0) return;
    log.warn("Node {node} is no more: {count} of its devices are offline", {
      node: start.node,
      nodeStartedAt: start.nodeStartedAt,
      count,
    });
  }

  /** They are recorded; who should hear of it and does not sees it in the list. */
  async #tell(statuses: readonly DeviceStatus[]): Promise<void> {
    const { broker } = this.#options;
    await Promise.all(statuses.map((status) => broker.publish(statusMessage(status))));
  }
}
