/**
 * Keeps a front's roster: hears beacons and announcements, looks at the clock, and tells what changes:
 * to the log, to listeners in this process, and to everybody on the channels `nodes.<event>`. A node
 * that is gone serves nothing any more; one that we know too little of is asked.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../broker/errors.ts";
import { PUBSUB_EXCHANGE } from "../broker/topology.ts";
import { decodeBeacon } from "../heartbeat/beacon.ts";
import { declareHeartbeatExchange } from "../heartbeat/node_heartbeat.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import { publishOnChannel } from "../pubsub/publish.ts";
import type { Announcement } from "./announcement.ts";
import type { NodesChannel } from "./nodes_channel.ts";
import { CeleryWatch } from "./celery_watch.ts";
import { type KnownNode, Roster, type RosterEvent, type RosterEventKind } from "./roster.ts";

const log = getLogger(["coxswain", "nodes"]);

const CHECK_EVERY_MS = 500;
/** Within this every node is connected again after the broker has come back. */
const OTHERS_RETURN_MS = 5_000;
/** A node that does not answer is asked again after this. */
const ASK_AGAIN_AFTER_MS = 10_000;

export interface RosterKeeperOptions {
  readonly broker: Broker;
  /** The channel whose announcements it hears, and whose directory it puts right. */
  readonly nodes: NodesChannel;
  /** This node's id. */
  readonly node: string;
  /** Exchange of beacons. */
  readonly exchange: string;
  /** Whether events are published; an operator's command only looks. */
  readonly publishes: boolean;
  /** Whether workers of Celery's are listed too: they cannot be on a broker in this process. Default not. */
  readonly hearsCelery?: boolean;
  readonly clock?: Clock;
}

type Level = "debug" | "info" | "warn";

/** How an event is told to the operator. */
const TOLD: Readonly<Record<RosterEventKind, readonly [Level, string]>> = {
  found: ["debug", "Node {node} was found"],
  joined: ["info", "Node {node} joined"],
  late: ["warn", "Node {node} is late: 2 of its beacons are missing"],
  gone: ["warn", "Node {node} is gone: 4 of its beacons are missing"],
  left: ["info", "Node {node} left"],
  back: ["info", "Node {node} is back"],
};

/** Start it before its `NodesChannel`, so that it hears the answers to the channel's first question. */
export class RosterKeeper implements Component {
  readonly #options: RosterKeeperOptions;
  readonly #clock: Clock;
  readonly #roster: Roster;
  readonly #listeners = new Set<(event: RosterEvent) => void>();
  /** When a node was asked, by its id. */
  readonly #asked = new Map<string, number>();
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;
  readonly #celery: CeleryWatch | undefined;
  #unwatch: (() => void) | undefined;
  #timer: Timer | undefined;
  #checkedAt = 0;
  /** Since when we hear nobody: the queue of beacons is not there. */
  #deafSince: number | undefined;

  constructor(options: RosterKeeperOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#roster = new Roster(this.#clock);
    const { broker, hearsCelery } = options;
    this.#celery = hearsCelery
      ? new CeleryWatch({ broker, onNews: (news) => this.#tell(this.#roster.heardCelery(news)) })
      : undefined;
  }

  /** Sorted by id. */
  list(): readonly KnownNode[] {
    return this.#roster.list();
  }

  find(id: string): KnownNode | undefined {
    return this.#roster.find(id);
  }

  /** Calls the listener with each event; returns a function that ends this. */
  watch(listener: (event: RosterEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async start(): Promise<void> {
    const { broker, nodes, exchange } = this.#options;
    await declareHeartbeatExchange(broker, exchange);
    await broker.declareExchange(PUBSUB_EXCHANGE);
    this.#unwatch = nodes.watch((announcement) => this.#heardAnnouncement(announcement));
    const queue = await broker.openPrivateQueue({
      prefix: "cox.roster.",
      bindings: [{ exchange }],
    });
    this.#queue = queue;
    queue.watch((name) => this.#onQueue(name));
    this.#loop = this.#listen(queue);
    await this.#celery?.start();
    this.#checkedAt = this.#clock.monotonic();
    this.#checkLater();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#unwatch?.();
    const queue = this.#queue;
    this.#queue = undefined;
    await this.#celery?.stop();
    await queue?.close();
    await this.#loop;
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message } of queue) {
      const beacon = decodeBeacon(message.body);
      if (beacon === undefined) {
        log.debug("Passed over a message on {exchange} that is no beacon", {
          exchange: this.#options.exchange,
        });
        continue;
      }
      const events = this.#roster.heardBeacon(beacon);
      this.#tell(events);
      this.#learnTasks(beacon.node, beacon.tasks);
    }
  }

  #heardAnnouncement(announcement: Announcement): void {
    switch (announcement.type) {
      case "present":
        return this.#tell(this.#roster.heardIntroduction(announcement));
      case "leaving":
        return this.#tell(this.#roster.heardLeaving(announcement.node));
      case "serving":
        this.#asked.delete(announcement.node);
        return;
      case "asking":
        return;
    }
  }

  /** Asks a node whose tasks are others than it announced, as far as we have heard. */
  #learnTasks(node: string, tasks: readonly string[]): void {
    const { nodes } = this.#options;
    const state = this.#roster.find(node)?.state;
    if (state !== "alive" && state !== "unknown") return;
    if (nodes.hasExactly(node, tasks)) return;
    const now = this.#clock.monotonic();
    const askedAt = this.#asked.get(node);
    if (askedAt !== undefined && now - askedAt < ASK_AGAIN_AFTER_MS) return;
    this.#asked.set(node, now);
    void nodes.ask(node);
  }

  /** While the broker is away, or held us up, nobody is heard: they get their time again. */
  #onQueue(name: string | undefined): void {
    if (name === undefined) {
      this.#deafSince ??= this.#clock.monotonic();
    } else if (this.#deafSince !== undefined) {
      const deafMs = this.#clock.monotonic() - this.#deafSince;
      this.#roster.wasDeaf(deafMs + OTHERS_RETURN_MS);
      this.#deafSince = undefined;
    }
  }

  #checkLater(): void {
    this.#timer = this.#clock.after(CHECK_EVERY_MS, () => {
      this.#check();
      if (this.#timer !== undefined) this.#checkLater();
    });
  }

  #check(): void {
    const now = this.#clock.monotonic();
    // This process itself was held up: what came in meanwhile is read after this timer.
    const heldUpMs = now - this.#checkedAt - CHECK_EVERY_MS;
    this.#checkedAt = now;
    if (this.#deafSince !== undefined) return;
    if (heldUpMs > CHECK_EVERY_MS) this.#roster.wasDeaf(heldUpMs);
    this.#tell(this.#roster.check());
    for (const [node, askedAt] of this.#asked) {
      if (now - askedAt >= ASK_AGAIN_AFTER_MS) this.#asked.delete(node);
    }
  }

  #tell(events: readonly RosterEvent[]): void {
    for (const event of events) {
      const { kind, node } = event;
      const [level, message] = TOLD[kind];
      log[level](message, {
        node: node.id,
        kind: node.kind,
        role: node.role,
        version: node.version,
      });
      if (kind === "gone") this.#options.nodes.lost(node.id);
      for (const listener of this.#listeners) listener(event);
      // Each front would tell of all that it finds when it starts; that is no news.
      if (this.#options.publishes && kind !== "found") void this.#publish(kind, node);
    }
  }

  /** Never rejects: an event that the broker did not take stands in the log. */
  async #publish(kind: RosterEventKind, node: KnownNode) {
    const { id, role, version, startedAt } = node;
    const event = {
      event: kind,
      node: id,
      kind: node.kind,
      role,
      version,
      ...(startedAt === undefined ? {} : { startedAt }),
      at: new Date(this.#clock.now()).toISOString(),
      seenBy: this.#options.node,
    };
    try {
      const body = new TextEncoder().encode(JSON.stringify(event));
      const payload = { contentType: "application/json", body };
      await publishOnChannel(this.#options.broker, `nodes.${kind}`, payload, { isAwaited: false });
    } catch (error) {
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
      log.debug("Event {event} of node {node} was not published: {reason}", {
        event: kind,
        node: node.id,
        reason: error.message,
      });
    }
  }
}
