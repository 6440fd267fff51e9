/**
 * This node's place on the exchange `cox.nodes`: it listens to what others announce, asks when it has
 * connected, introduces this node and, where it serves tasks, announces them. Beacons are not its
 * business: see roster_keeper.ts.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, PrivateQueue } from "../broker/broker.ts";
import { BrokerAwayError } from "../broker/errors.ts";
import { NODES_EXCHANGE } from "../broker/topology.ts";
import type { Introduction } from "../heartbeat/beacon.ts";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Component } from "../lifecycle/component.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import type { ScheduleDescriptor } from "../tasks/schedule.ts";
import {
  type AnnouncedConsumer,
  type Announcement,
  type ConsumedQueue,
  decodeAnnouncement,
  encodeAnnouncement,
  type KnownTask,
  type TaskDirectory,
} from "./announcement.ts";
import { Directory } from "./directory.ts";

const log = getLogger(["coxswain", "nodes"]);

const SETTLE_MS = 500;

export interface NodesChannelOptions {
  readonly broker: Broker;
  readonly node: string;
  /**
   * How long workers get to answer the question before an unknown task counts as unknown, default
   * 500 ms; 0 where this node is the only one.
   */
  readonly settleMs?: number;
  /** Of this node's configuration: announced while it is one of all. Default: none. */
  readonly schedules?: readonly ScheduleDescriptor[];
  readonly clock?: Clock;
}

/** How a node joins: who it is, and what else it does when somebody asks. */
export interface Joining {
  readonly introduction: Introduction;
  /** Called after each introduction that somebody asked for. */
  asked(): void;
}

/** Idle until started; the directory can be read from the beginning, and is empty. */
export class NodesChannel implements Component, TaskDirectory {
  readonly #broker: Broker;
  readonly #node: string;
  readonly #settleMs: number;
  readonly #schedules: readonly ScheduleDescriptor[];
  readonly #clock: Clock;
  readonly #directory = new Directory();
  readonly #listeners = new Set<(announcement: Announcement) => void>();
  #serving: Omit<Extract<Announcement, { type: "serving" }>, "type" | "node"> | undefined;
  #joined: Joining | undefined;
  #queue: PrivateQueue | undefined;
  #loop: Promise<void> | undefined;
  #settled = Promise.withResolvers<void>();
  #isSettled = false;
  #settleTimer: Timer | undefined;

  constructor(
    { broker, node, settleMs = SETTLE_MS, schedules = [], clock = systemClock }:
      NodesChannelOptions,
  ) {
    this.#schedules = schedules;
    if (schedules.length > 0) this.#serving = { tasks: [], schedules: [...schedules] };
    this.#settleMs = settleMs;
    this.#broker = broker;
    this.#node = node;
    this.#clock = clock;
  }

  async start(): Promise<void> {
    await this.#broker.declareExchange(NODES_EXCHANGE);
    this.#queue = await this.#broker.openPrivateQueue({
      prefix: "cox.nodes.",
      bindings: [{ exchange: NODES_EXCHANGE.name }],
    });
    this.#loop = this.#listen(this.#queue);
    this.#queue.watch((name) => {
      if (name !== undefined) this.#onConnected();
    });
    this.#onConnected();
  }

  /** Says goodbye where it served or had joined, and stops listening. */
  async stop(): Promise<void> {
    await this.withdraw();
    this.#settleTimer?.cancel();
    await this.#queue?.close();
    await this.#loop;
  }

  /** From now on this node serves these tasks and says so, now and whenever somebody asks. */
  async serve(
    tasks: readonly TaskDescriptor[],
    consumers: readonly AnnouncedConsumer[] = [],
    schedules: readonly ScheduleDescriptor[] = [],
  ): Promise<void> {
    this.#serving = {
      tasks: [...tasks],
      consumers: [...consumers],
      schedules: [...schedules, ...this.#schedules],
    };
    await this.#publish({ type: "serving", node: this.#node, ...this.#serving });
  }

  /** From now on this node is one of all, and says so, now and whenever somebody asks. */
  async join(joining: Joining): Promise<void> {
    this.#joined = joining;
    await this.#publish({ type: "present", ...joining.introduction });
  }

  /** This node takes no more work, and is none of all any more. Idempotent. */
  async withdraw(): Promise<void> {
    if (this.#serving === undefined && this.#joined === undefined) return;
    this.#serving = undefined;
    this.#joined = undefined;
    await this.#publish({ type: "leaving", node: this.#node });
  }

  /** Calls the listener with each announcement; returns a function that ends this. */
  watch(listener: (announcement: Announcement) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Schedules that a node wants now, each name once. */
  schedules(): readonly ScheduleDescriptor[] {
    return this.#directory.schedules();
  }

  /** A node is no more: it serves nothing, and its tasks stay remembered. */
  lost(node: string): void {
    this.#directory.left(node);
  }

  /** Whether exactly these are the tasks that a node has announced. */
  hasExactly(node: string, tasks: readonly string[]): boolean {
    return this.#directory.hasExactly(node, tasks);
  }

  /** Asks one node who it is and what it serves. */
  async ask(whom: string): Promise<void> {
    await this.#publish({ type: "asking", node: this.#node, whom });
  }

  /** Queues of messages that nodes consume, or did. */
  consumedQueues(): readonly ConsumedQueue[] {
    return this.#directory.consumedQueues();
  }

  find(task: string): KnownTask | undefined {
    return this.#directory.find(task);
  }

  descriptor(task: string): TaskDescriptor | undefined {
    return this.#directory.descriptor(task);
  }

  list(): readonly KnownTask[] {
    return this.#directory.list();
  }

  isServedElsewhere(task: string, queue: string): boolean {
    return this.#directory.isServedElsewhere(task, queue, this.#node);
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  settled(signal?: AbortSignal): Promise<void> {
    if (this.#isSettled || signal === undefined) return this.#settled.promise;
    signal.throwIfAborted();
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    return Promise.race([this.#settled.promise, aborted.promise])
      .finally(() => signal.removeEventListener("abort", onAbort));
  }

  /** What was missed while the queue was not there is asked for again. */
  #onConnected(): void {
    void this.#publish({ type: "asking", node: this.#node });
    this.#tell();
    if (this.#isSettled) return;
    this.#settleTimer?.cancel();
    this.#settleTimer = this.#clock.after(this.#settleMs, () => {
      this.#isSettled = true;
      this.#settled.resolve();
    });
  }

  async #listen(queue: PrivateQueue): Promise<void> {
    for await (const { message } of queue) {
      const announcement = decodeAnnouncement(message.body);
      if (announcement === undefined) {
        log.warn("Passed over a message on {exchange} that is not an announcement", {
          exchange: NODES_EXCHANGE.name,
        });
        continue;
      }
      switch (announcement.type) {
        case "serving":
          this.#directory.announced(
            announcement.node,
            announcement.tasks,
            announcement.consumers,
            announcement.schedules,
          );
          break;
        case "leaving":
          this.#directory.left(announcement.node);
          break;
        case "asking":
          if (announcement.whom !== undefined && announcement.whom !== this.#node) break;
          this.#tell();
          this.#joined?.asked();
          break;
        case "present":
          break;
      }
      for (const listener of this.#listeners) listener(announcement);
    }
  }

  #tell(): void {
    if (this.#joined !== undefined) {
      void this.#publish({ type: "present", ...this.#joined.introduction });
    }
    if (this.#serving !== undefined) {
      void this.#publish({ type: "serving", node: this.#node, ...this.#serving });
    }
  }

  /** Never rejects: what is lost while the broker is away is said again when it is back. */
  async #publish(announcement: Announcement): Promise<void> {
    try {
      await this.#broker.publish({
        exchange: NODES_EXCHANGE.name,
        routingKey: "",
        properties: { contentType: "application/json" },
        body: encodeAnnouncement(announcement),
      });
    } catch (error) {
      if (!(error instanceof BrokerAwayError)) throw error;
      log.debug("Announcement {type} waits for the broker", { type: announcement.type });
    }
  }
}
