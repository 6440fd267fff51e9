/**
 * The roster: who is alive. Pure state, fed by what nodes tell of themselves and by the clock. How
 * their words travel is roster_keeper.ts; which tasks they serve is directory.ts.
 *
 * A node is one start of a program: a name that comes back with another instant of its start is a new
 * node in the old one's place.
 */
import type { Beacon, Introduction, Load } from "../heartbeat/beacon.ts";
import type { Clock } from "../lifecycle/clock.ts";
import type { CeleryWorkerNews } from "./celery_worker.ts";

/**
 * - alive: its beacons come.
 * - late: 2 of them are missing; of a worker of Celery's: it has been silent for twice its interval.
 * - gone: 4 of them are missing; of a worker of Celery's: silent for four times its interval.
 * - left: it said that it leaves; it may still finish what it runs.
 * - unknown: it sends no beacons, so that only its own word will tell that it left.
 */
export type NodeState = "alive" | "late" | "gone" | "left" | "unknown";

/** A node as a front knows it: an element of `GET /nodes`. */
export interface KnownNode {
  /** "celery": a worker of Celery's on the same broker, known by its events. */
  readonly kind: "coxswain" | "celery";
  readonly id: string;
  /** Of a worker of Celery's "worker". */
  readonly role: string;
  readonly version: string;
  readonly state: NodeState;
  /** ISO 8601, by the node's own clock. A worker of Celery's does not tell. */
  readonly startedAt?: string;
  /** ISO 8601, by the clock of who lists it; absent: none has come. */
  readonly lastBeaconAt?: string;
  /** From one of its beacons to the next; 0: it sends none. */
  readonly intervalMs: number;
  /** Its beats; absent, as all that follows, until a beacon has come. */
  readonly count?: number;
  /** Of a worker of Celery's `running` alone. */
  readonly load?: Partial<Load>;
  /** Names of its tasks. */
  readonly tasks?: readonly string[];
  /** What a worker of Celery's tells besides. */
  readonly pid?: number;
  /** Tasks that it has taken since its start. */
  readonly processed?: number;
  /** Of its machine, over 1, 5 and 15 minutes. */
  readonly loadAverage?: readonly number[];
}

export type RosterEventKind =
  /** It was here before we were. */
  | "found"
  | "joined"
  | "late"
  | "gone"
  | "left"
  /** It was late or gone, and its beacons come again. */
  | "back";

export interface RosterEvent {
  readonly kind: RosterEventKind;
  readonly node: KnownNode;
}

/**
 * Intervals without a sign of life. Of missing beacons, half an interval more is patience with the
 * network; Celery itself takes a worker for offline after twice its interval.
 */
const PATIENCE: Readonly<
  Record<KnownNode["kind"], { readonly late: number; readonly gone: number }>
> = {
  coxswain: { late: 2.5, gone: 4.5 },
  celery: { late: 2, gone: 4 },
};
/** However often a stranger says that it will send beacons. */
const LEAST_INTERVAL_MS = 1_000;
/** How long those are listed that are no more. */
const FORGET_AFTER_MS: Readonly<Record<"gone" | "left", number>> = {
  gone: 60 * 60_000,
  left: 10 * 60_000,
};
/** Anybody may send beacons: of more nodes than this, those that are no more are forgotten first. */
const MAX_NODES = 10_000;

/** Monotonic instants; written by the roster alone. */
interface Entry {
  node: KnownNode;
  /** When it last gave a sign of life; put off where we could not have heard it. */
  heardAt: number;
  /** When it came to its present state. */
  since: number;
}

export class Roster {
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #createdAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#createdAt = clock.monotonic();
  }

  /** Sorted by id. */
  list(): readonly KnownNode[] {
    return [...this.#entries.values()]
      .map(({ node }) => node)
      .sort((a, b) => a.id < b.id ? -1 : 1);
  }

  find(id: string): KnownNode | undefined {
    return this.#entries.get(id)?.node;
  }

  /** A node tells what it does. */
  heardBeacon(beacon: Beacon): readonly RosterEvent[] {
    const { load, tasks, count } = beacon;
    return this.#introduced(beacon, {
      lastBeaconAt: new Date(this.#clock.now()).toISOString(),
      count,
      load,
      tasks,
    });
  }

  /** A node tells that it is there, and how often it will send beacons. */
  heardIntroduction(introduction: Introduction): readonly RosterEvent[] {
    return this.#introduced(introduction, {});
  }

  /** A worker of Celery's tells that it lives, or that it ends. */
  heardCelery(news: CeleryWorkerNews): readonly RosterEvent[] {
    const { kind, name: id, version, intervalMs, pid, active, processed, loadAverage } = news;
    const known = this.#entries.get(id)?.node;
    if (known !== undefined && known.kind !== "celery") return [];
    if (kind === "offline") return this.heardLeaving(id);
    return this.#heard({
      kind: "celery",
      id,
      role: "worker",
      version,
      intervalMs,
      lastBeaconAt: new Date(this.#clock.now()).toISOString(),
      ...(pid === undefined ? {} : { pid }),
      ...(active === undefined ? {} : { load: { running: active } }),
      ...(processed === undefined ? {} : { processed }),
      ...(loadAverage === undefined ? {} : { loadAverage }),
    }, {
      // It says that it comes whenever it has connected, with the same process too.
      isSame: kind === "heartbeat" && known?.pid === pid,
      wasHere: kind === "heartbeat",
    });
  }

  /** A node tells that it leaves. */
  heardLeaving(id: string): readonly RosterEvent[] {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.node.state === "left") return [];
    return [this.#become(entry, "left")];
  }

  /** Looks who has not been heard for too long, and forgets who is no more. */
  check(): readonly RosterEvent[] {
    const now = this.#clock.monotonic();
    const events: RosterEvent[] = [];
    for (const [id, entry] of this.#entries) {
      const { state, intervalMs, kind } = entry.node;
      switch (state) {
        case "alive":
        case "late": {
          const missing = (now - entry.heardAt) / Math.max(intervalMs, LEAST_INTERVAL_MS);
          if (missing >= PATIENCE[kind].gone) events.push(this.#become(entry, "gone"));
          else if (missing >= PATIENCE[kind].late && state === "alive") {
            events.push(this.#become(entry, "late"));
          }
          break;
        }
        case "gone":
        case "left":
          if (now - entry.since >= FORGET_AFTER_MS[state]) this.#entries.delete(id);
          break;
        case "unknown":
          break;
      }
    }
    return events;
  }

  /** For so long we could not hear anybody: nobody is to be blamed for it. */
  wasDeaf(durationMs: number): void {
    for (const entry of this.#entries.values()) entry.heardAt += durationMs;
  }

  #introduced(
    { node: id, role, version, startedAt, uptimeMs, intervalMs }: Introduction,
    told: Pick<KnownNode, "lastBeaconAt" | "count" | "load" | "tasks">,
  ): readonly RosterEvent[] {
    return this.#heard(
      { kind: "coxswain", id, role, version, startedAt, intervalMs, ...told },
      {
        isSame: this.#entries.get(id)?.node.startedAt === startedAt,
        // Who has run for longer than we have listened did not come just now.
        wasHere: uptimeMs > this.#clock.monotonic() - this.#createdAt,
      },
    );
  }

  #heard(
    told: Omit<KnownNode, "state">,
    { isSame, wasHere }: {
      /** It is the same start of the same program as the one that is known. */
      readonly isSame: boolean;
      readonly wasHere: boolean;
    },
  ): readonly RosterEvent[] {
    const now = this.#clock.monotonic();
    const known = this.#entries.get(told.id);
    const before = isSame ? known?.node : undefined;
    // A beacon that was overtaken by the farewell. Who has left does not come back.
    if (before?.state === "left") return [];
    const state = told.intervalMs > 0 ? "alive" : "unknown";
    const node: KnownNode = { ...before, ...told, state };
    if (known === undefined && !this.#makeRoom()) return [];
    const since = before?.state === state ? known?.since ?? now : now;
    this.#entries.set(told.id, { node, heardAt: now, since });
    // A known name with another start is a new node in the old one's place.
    if (before === undefined) {
      return [{ kind: known === undefined && wasHere ? "found" : "joined", node }];
    }
    return before.state === "late" || before.state === "gone" ? [{ kind: "back", node }] : [];
  }

  #become(entry: Entry, state: "late" | "gone" | "left"): RosterEvent {
    entry.node = { ...entry.node, state };
    entry.since = this.#clock.monotonic();
    return { kind: state, node: entry.node };
  }

  /** Whether one more node may be kept. */
  #makeRoom(): boolean {
    if (this.#entries.size < MAX_NODES) return true;
    for (const [id, { node: { state } }] of this.#entries) {
      if (state !== "gone" && state !== "left") continue;
      this.#entries.delete(id);
      return true;
    }
    return false;
  }
}
