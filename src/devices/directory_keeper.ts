/**
 * Keeps the directory of devices that other nodes hold, and tells them what this node holds: one queue
 * that hears all of `cox.device-status`, what is told every so often, and what is asked at the start
 * and after each reconnect.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError, PublishRefusedError } from "../broker/errors.ts";
import type { Message } from "../broker/message.ts";
import { DEVICE_STATUS_EXCHANGE } from "../broker/topology.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import type { RosterEvent } from "../nodes/roster.ts";
import { newId } from "../platform/ids.ts";
import { decodeStatus, type DeviceStatus } from "./device_status.ts";
import { DeviceDirectory, type HeardConnection } from "./directory.ts";
import type { Epochs } from "./epochs.ts";
import {
  decodeTalk,
  type DeviceTalk,
  type HeldRow,
  heldTalks,
  isTalk,
  talkMessage,
} from "./held_message.ts";

const log = getLogger(["coxswain", "devices"]);

/** So late `lastSeenAt` of another node's device may be. */
const TELL_EVERY_MS = 10_000;
/** Whom nobody told of for so long is not there. */
const SILENT_MS = 35_000;
/** How long nodes get to answer the first question. */
const SETTLE_MS = 500;
const ECHO_LIMIT_MS = 5_000;

/** What a node that holds devices does with what it hears. */
export interface Holder {
  /** What it holds now. */
  rows(): HeldRow[];
  /** Somebody told of a connection of this id elsewhere. */
  heardElsewhere(connection: HeardConnection): void;
  /** Somebody took this node for gone, with this device, or with all: they are to be told of anew. */
  takenForGone(status?: DeviceStatus): void;
}

export interface DirectoryKeeperOptions {
  readonly broker: Broker;
  readonly node: string;
  /** As this node's beacons say it. */
  readonly nodeStartedAt: string;
  readonly epochs: Epochs;
  /** Tells which nodes are gone. */
  readonly roster: { watch(listener: (event: RosterEvent) => void): () => void };
  /** How long the first question is given; 0 where this node is the only one. Default 500 ms. */
  readonly settleMs?: number;
  readonly clock?: Clock;
}

export class DirectoryKeeper implements Component {
  readonly #options: DirectoryKeeperOptions;
  readonly #clock: Clock;
  readonly directory: DeviceDirectory;
  readonly #echoes = new Map<string, () => void>();
  /** Nodes that the roster gave up; they may come back. */
  readonly #gone = new Set<string>();
  readonly #settled = Promise.withResolvers<void>();
  #holder: Holder | undefined;
  /** Nothing was held when others were told last. */
  #hasToldNothing = false;
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;
  #unwatch: (() => void) | undefined;
  #timer: Timer | undefined;
  #settling: Timer | undefined;

  constructor(options: DirectoryKeeperOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.directory = new DeviceDirectory(this.#clock);
  }

  async start(): Promise<void> {
    const { broker, roster, settleMs = SETTLE_MS } = this.#options;
    await broker.declareExchange(DEVICE_STATUS_EXCHANGE);
    const queue = await broker.openPrivateQueue({
      prefix: "cox.device-status.",
      bindings: [{ exchange: DEVICE_STATUS_EXCHANGE.name, routingKey: "#" }],
    });
    this.#queue = queue;
    const endings = [
      roster.watch((event) => this.#heardOfNode(event)),
      // The queue may have been there again before anything could be said.
      broker.watch(({ kind }) => {
        if (kind === "connected" && this.#queue?.name !== undefined) this.#onConnected();
      }),
    ];
    this.#unwatch = () => endings.forEach((end) => end());
    this.#loop = this.#listen(queue);
    queue.watch((name) => {
      if (name !== undefined) this.#onConnected();
    });
    this.#settling = this.#clock.after(settleMs, () => this.#settled.resolve());
    this.#onConnected();
    this.#tellLater();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#settling?.cancel();
    this.#settled.resolve();
    this.#unwatch?.();
    const queue = this.#queue;
    this.#queue = undefined;
    await queue?.close();
    await this.#loop;
  }

  /** From now on this node holds devices. */
  serve(holder: Holder | undefined): void {
    this.#holder = holder;
  }

  /** Resolves when other nodes have had time to tell what they hold. */
  settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Resolves when all has been heard that was told before, as far as it goes within some seconds. */
  async caughtUp(): Promise<void> {
    const id = newId();
    const heard = Promise.withResolvers<void>();
    this.#echoes.set(id, heard.resolve);
    const timer = this.#clock.after(ECHO_LIMIT_MS, heard.resolve);
    if (this.#queue?.name !== undefined) void this.#ask(id);
    await heard.promise;
    timer.cancel();
    this.#echoes.delete(id);
  }

  /** What was missed while there was no queue is asked for again. */
  #onConnected(): void {
    this.directory.wasDeaf();
    void this.#ask();
    for (const id of this.#echoes.keys()) void this.#ask(id);
    this.#tellHeld();
  }

  #ask(id?: string): Promise<void> {
    const { node } = this.#options;
    return this.#say({ type: "asking", node, ...(id === undefined ? {} : { id }) });
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message } of queue) {
      if (isTalk(message)) this.#heardTalk(message.body);
      else this.#heardStatus(message);
    }
  }

  #heardStatus({ body, routingKey }: Message): void {
    const { node, epochs } = this.#options;
    const decoded = decodeStatus(body);
    if (decoded.kind === "unusable") {
      log.warn("Passed over a message on {exchange} that is no status of a device: {reason}", {
        exchange: DEVICE_STATUS_EXCHANGE.name,
        key: routingKey,
        reason: decoded.reason,
      });
      return;
    }
    const { status } = decoded;
    epochs.heard(status.epoch);
    if (status.node === node) {
      if (status.reason === "node-gone") this.#holder?.takenForGone(status);
      return;
    }
    this.directory.heardStatus(status);
    this.#holder?.heardElsewhere({ id: status.device, epoch: status.epoch, node: status.node });
  }

  #heardTalk(body: Uint8Array): void {
    const { node, epochs } = this.#options;
    const talk = decodeTalk(body);
    if (talk === undefined) {
      log.warn("Passed over a message on {exchange} that cannot be read", {
        exchange: DEVICE_STATUS_EXCHANGE.name,
      });
      return;
    }
    if (talk.type === "held") {
      if (talk.node === node) return;
      this.directory.heardHeld(talk);
      for (const [id, epoch] of talk.devices) {
        epochs.heard(epoch);
        this.#holder?.heardElsewhere({ id, epoch, node: talk.node });
      }
      return;
    }
    if (talk.id !== undefined) return this.#echoes.get(talk.id)?.();
    if (talk.renew !== undefined) {
      if (talk.renew === node) this.#holder?.takenForGone();
    } else if (talk.node !== node) this.#tellHeld();
  }

  #heardOfNode({ kind, node: { id } }: RosterEvent): void {
    switch (kind) {
      case "gone":
        this.#gone.add(id);
        this.directory.lost(id);
        return;
      case "joined":
      case "back":
        if (!this.#gone.delete(id) || kind === "joined") return;
        void this.#say({ type: "asking", node: this.#options.node, renew: id });
        return;
      // One that leaves tells itself when its devices are gone.
      case "left":
      case "found":
      case "late":
        return;
    }
  }

  #tellLater(): void {
    this.#timer = this.#clock.after(TELL_EVERY_MS, () => {
      // While nobody can be heard, nobody is silent.
      if (this.#queue?.name === undefined) this.directory.wasDeaf();
      else this.directory.forgetSilent(SILENT_MS);
      const rows = this.#holder?.rows() ?? [];
      if (rows.length > 0 || !this.#hasToldNothing) this.#tellHeld(rows);
      if (this.#timer !== undefined) this.#tellLater();
    });
  }

  #tellHeld(rows = this.#holder?.rows() ?? []): void {
    const { node, nodeStartedAt } = this.#options;
    if (this.#holder === undefined) return;
    this.#hasToldNothing = rows.length === 0;
    for (const talk of heldTalks(node, nodeStartedAt, rows)) void this.#say(talk);
  }

  /** Never rejects: what is lost is said again when the broker is back. */
  async #say(talk: DeviceTalk): Promise<void> {
    try {
      // Confirmed, so that it keeps its place among the statuses, which are.
      await this.#options.broker.publish(talkMessage(talk), { confirm: true });
    } catch (error) {
      if (!(error instanceof BrokerAwayError || error instanceof PublishRefusedError)) throw error;
      log.debug("What this node has to say of devices waits for the broker: {reason}", {
        type: talk.type,
        reason: error.message,
      });
    }
  }
}
