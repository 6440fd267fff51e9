/**
 * A worker: its pool of isolates, the queues of their tasks, and the executor between them. Starts in
 * the order in which the parts need each other and stops in the reverse, in two phases.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../broker/broker.ts";
import { publishPatiently } from "../broker/publish_patiently.ts";
import {
  DEAD_EXCHANGE,
  DEAD_LETTERS_QUEUE,
  PUBSUB_EXCHANGE,
  taskQueue,
} from "../broker/topology.ts";
import type { Pool } from "../isolates/pool.ts";
import type { Component } from "../lifecycle/component.ts";
import type { NodesChannel } from "../nodes/nodes_channel.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import { ControlListener } from "./control_listener.ts";
import { Executor } from "./executor.ts";
import { LookAhead } from "./look_ahead.ts";
import { QueueConsumers } from "./queue_consumers.ts";
import { Revocations } from "./revocations.ts";

const log = getLogger(["coxswain", "worker"]);

export interface WorkerOptions {
  readonly broker: Broker;
  readonly nodes: NodesChannel;
  readonly pool: Pool;
  readonly node: string;
  /** Queues to serve; absent: the queues of the tasks. */
  readonly queues?: readonly string[];
  readonly queueType: "classic" | "quorum";
  /** Attempts that may run at once: isolates × slots. */
  readonly slots: number;
  readonly lookAhead: number | "auto";
  /** Whether the broker is reached over a network, where answers are worth grouping. */
  readonly groupAnswers: boolean;
  readonly maxBodyBytes: number;
}

export interface WorkerStatus {
  readonly consumers: readonly { readonly queue: string; readonly isLive: boolean }[];
  readonly running: number;
  readonly waiting: number;
  readonly stuckIsolates: number;
}

/** Announces the tasks on the queues that it serves; runs any of its tasks that arrives there. */
export class Worker implements Component {
  readonly #options: WorkerOptions;
  #executor: Executor | undefined;
  #consumers: QueueConsumers | undefined;
  #control: ControlListener | undefined;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  get status(): WorkerStatus {
    return {
      consumers: this.#consumers?.live ?? [],
      running: this.#executor?.running ?? 0,
      waiting: this.#executor?.waiting ?? 0,
      stuckIsolates: this.#options.pool.stats.stuck,
    };
  }

  async start(): Promise<void> {
    const { broker, nodes, pool, node, slots } = this.#options;
    const { tasks: known } = await pool.start();
    const queues = this.#options.queues ?? [...new Set(known.map(({ queue }) => queue))];
    const served = known.filter(({ queue }) => queues.includes(queue));
    await this.#declare(queues);

    const lookAhead = new LookAhead(this.#options.lookAhead, slots);
    const executor = new Executor({
      broker,
      runner: pool,
      tasks: new Map(known.map((task) => [task.name, task])),
      slots,
      lookAhead,
      groupAnswers: this.#options.groupAnswers,
      revocations: new Revocations(),
      isServedElsewhere: (task, queue) => nodes.isServedElsewhere(task, queue),
      node,
      maxBodyBytes: this.#options.maxBodyBytes,
    });
    this.#executor = executor;
    this.#control = new ControlListener({
      broker,
      node,
      revoke: (id, terminate) => executor.revoke(id, terminate),
    });
    await this.#control.start();
    this.#consumers = new QueueConsumers({
      broker,
      queues,
      slots,
      lookAhead,
      accept: (delivery) => executor.accept(delivery),
      holds: (queue) => executor.holds(queue),
    });
    await this.#consumers.start();
    await nodes.serve(served);
    this.#tell(served, queues);
  }

  /** Takes no new work, finishes what runs until `abort`, then stops it and gives it back. */
  async stop(abort?: AbortSignal): Promise<void> {
    const executor = this.#executor;
    await this.#options.nodes.withdraw();
    await this.#consumers?.cancel();
    executor?.stopAccepting();
    const abortRunning = () => executor?.abortRunning();
    if (abort?.aborted) abortRunning();
    else abort?.addEventListener("abort", abortRunning, { once: true });
    await executor?.idle();
    abort?.removeEventListener("abort", abortRunning);
    await this.#control?.stop();
    await this.#consumers?.close();
    await this.#options.pool.stop(abort);
  }

  async #declare(queues: readonly string[]): Promise<void> {
    const { broker, queueType } = this.#options;
    await broker.declareExchange(DEAD_EXCHANGE);
    await broker.declareExchange(PUBSUB_EXCHANGE);
    await broker.declareQueue(DEAD_LETTERS_QUEUE);
    await broker.bind({
      exchange: DEAD_EXCHANGE.name,
      queue: DEAD_LETTERS_QUEUE.name,
      arguments: { "x-match": "all", "cox-kind": "job" },
    });
    for (const queue of queues) {
      const { mismatch } = await broker.declareQueue(taskQueue(queue, queueType));
      if (mismatch !== undefined) {
        log.warn("Queue {queue} is used as it is: {mismatch}", { queue, mismatch });
      }
    }
  }

  #tell(served: readonly TaskDescriptor[], queues: readonly string[]): void {
    log.info("Serving {count} tasks from {queues}", {
      count: served.length,
      queues: queues.join(", "),
      tasks: served.map(({ name }) => name).join(" "),
    });
    for (const queue of queues) {
      if (served.some((task) => task.queue === queue)) continue;
      log.warn("No task of this worker is on queue {queue}", { queue });
    }
  }
}

/** How long a channel message of a task waits for the broker to come back. */
const PUBLISH_PATIENCE_MS = 5_000;

/** Publishes for a task: JSON text on a channel, which is a topic of `cox.pubsub`. */
export async function publishOnChannel(
  broker: Broker,
  channel: string,
  json: string,
): Promise<void> {
  await publishPatiently(
    broker,
    {
      exchange: PUBSUB_EXCHANGE.name,
      routingKey: channel,
      properties: { contentType: "application/json" },
      body: new TextEncoder().encode(json),
    },
    { confirm: true },
    PUBLISH_PATIENCE_MS,
  );
}
