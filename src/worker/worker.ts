/**
 * A worker: its pool of isolates, the queues of their tasks and consumers, and what runs in between.
 * Starts in the order in which the parts need each other and stops in the reverse, in two phases.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, ExchangeType } from "../broker/broker.ts";
import { BrokerAwayError, DeclarationError } from "../broker/errors.ts";
import {
  DEAD_BINDINGS,
  DEAD_EXCHANGE,
  DEAD_LETTERS_QUEUE,
  PUBSUB_EXCHANGE,
  taskQueue,
} from "../broker/topology.ts";
import { NO_FACTS } from "../celery/control/panel.ts";
import type { Pool } from "../isolates/pool.ts";
import { JobEventPublisher } from "../jobs/event_publisher.ts";
import { askCancelledIds } from "../jobs/questions.ts";
import { RecorderPresence } from "../jobs/recorder_presence.ts";
import type { Component } from "../lifecycle/component.ts";
import type { NodesChannel } from "../nodes/nodes_channel.ts";
import type { TaskRoutes } from "../nodes/routes.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import type { ConsumerDescriptor } from "../tasks/consumer.ts";
import type { ConsumerStatus } from "./consuming_queue.ts";
import { Executor } from "./executor.ts";
import { LookAhead } from "./look_ahead.ts";
import { boundTo, MessageConsumers } from "./message_consumers.ts";
import type { PeriodicCallbacks } from "./periodic.ts";
import { QueueConsumers } from "./queue_consumers.ts";
import { QueueSteering } from "./queue_steering.ts";
import { type CelerySettings, RemoteControl } from "./remote_control.ts";
import { RequestTally } from "./request_tally.ts";
import { Revocations } from "./revocations.ts";
import { Strangers } from "./strangers.ts";
import { RunningQueues } from "./running_queues.ts";
import { TaskLimits } from "./task_limits.ts";
import { WorkerRoom } from "./worker_room.ts";

const log = getLogger(["coxswain", "worker"]);

/** How long the events of a job wait for a broker that is away; then the job is given back. */
const EVENT_PATIENCE_MS = 30_000;
/** How long a start waits for a recorder that does not answer. */
const CANCELLED_TIMEOUT_MS = 5_000;

export interface WorkerOptions {
  readonly broker: Broker;
  readonly nodes: NodesChannel;
  readonly pool: Pool;
  readonly periodic: PeriodicCallbacks;
  readonly node: string;
  /** Queues to serve; absent: the queues of the tasks and consumers. */
  readonly queues?: readonly string[];
  /** Exchanges of the configuration: name → type. Default: none. */
  readonly exchanges?: ReadonlyMap<string, ExchangeType>;
  readonly queueType: "classic" | "quorum";
  /** Queues of tasks that others serve. Default: none. */
  readonly routes?: TaskRoutes;
  /** Attempts that may run at once: isolates × slots. */
  readonly slots: number;
  /** Isolates that run them. Default: one for each. */
  readonly isolates?: number;
  readonly lookAhead: number | "auto";
  /** Whether the broker is reached over a network, where answers are worth grouping. */
  readonly groupAnswers: boolean;
  readonly maxBodyBytes: number;
  readonly maxTasksPerIsolate?: number;
  /** What Celery's tools may see and do. Default: they see no settings, and no events are told. */
  readonly celery?: CelerySettings;
}

const NO_SETTINGS: CelerySettings = { facts: NO_FACTS, tellsEvents: false };

export interface WorkerStatus {
  /** Of tasks' queues, and of consumers of messages. */
  readonly consumers: readonly ConsumerStatus[];
  readonly running: number;
  readonly waiting: number;
  readonly isolates: number;
  readonly stuckIsolates: number;
}

/** Announces the tasks on the queues that it serves; runs any of its tasks that arrives there. */
export class Worker implements Component {
  readonly #options: WorkerOptions;
  #executor: Executor | undefined;
  #consumers: QueueConsumers | undefined;
  #messages: MessageConsumers | undefined;
  #control: RemoteControl | undefined;
  #served: readonly TaskDescriptor[] = [];
  #isHandedOver = false;

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  /** The tasks that it announces. */
  get served(): readonly TaskDescriptor[] {
    return this.#served;
  }

  get status(): WorkerStatus {
    const { isolates, stuck } = this.#options.pool.stats;
    return {
      consumers: [...this.#consumers?.status ?? [], ...this.#messages?.status ?? []],
      running: (this.#executor?.running ?? 0) + (this.#messages?.running ?? 0),
      waiting: (this.#executor?.waiting ?? 0) + (this.#messages?.waiting ?? 0),
      isolates,
      stuckIsolates: stuck,
    };
  }

  async start(): Promise<void> {
    const { broker, nodes, pool, node, slots } = this.#options;
    const { tasks: known, consumers: listed, schedules, periodic } = await pool.start();
    const isServed = ({ queue }: { readonly queue: string }) =>
      this.#options.queues?.includes(queue) ?? true;
    const served = known.filter(isServed);
    const consumers = listed.filter(isServed);
    const queues = taskQueues(this.#options.queues, known, consumers);
    await this.#declare(queues);

    const announce = async () => {
      this.#served = limits.present(served);
      await nodes.serve(
        this.#served,
        consumers.map((consumer) => ({ queue: consumer.queue, ...boundTo(consumer) })),
        schedules,
      );
    };
    const limits = new TaskLimits(known, () => {
      announce().catch((error: unknown) => log.error("Could not announce: {error}", { error }));
    });
    const revocations = new Revocations();
    const tally = new RequestTally();
    const strangers = new Strangers({ broker });
    const lookAhead = new LookAhead(this.#options.lookAhead, slots);
    const executor = new Executor({
      broker,
      events: new JobEventPublisher({ broker, patienceMs: EVENT_PATIENCE_MS }),
      recorder: new RecorderPresence({ broker }),
      runner: pool,
      tasks: limits.byName,
      slots,
      lookAhead,
      groupAnswers: this.#options.groupAnswers,
      revocations,
      watcher: tally,
      isServedElsewhere: (task, queue) => nodes.isServedElsewhere(task, queue),
      hasStranger: (task) => strangers.have(task),
      queueOf: (task) => this.#options.routes?.queueOf(task) ?? nodes.descriptor(task)?.queue,
      node,
      maxBodyBytes: this.#options.maxBodyBytes,
      onPaused: () => this.#consumers?.share(),
      onSettled: (queue) => this.#consumers?.countSettled(queue),
    });
    this.#executor = executor;
    const messages = new MessageConsumers({
      broker,
      runner: pool,
      consumers,
      exchanges: this.#options.exchanges ?? new Map(),
      queueType: this.#options.queueType,
      slots,
      node,
    });
    this.#messages = messages;
    await messages.declare();
    const tasks = new QueueConsumers({
      broker,
      queues,
      slots,
      lookAhead,
      accept: (delivery) => executor.accept(delivery),
      paused: () => executor.paused,
      holds: (queue) => executor.holds(queue),
    });
    this.#consumers = tasks;
    const room = new WorkerRoom(
      { isolates: this.#options.isolates ?? slots, slots },
      (isolates, slots) => {
        pool.resize(isolates);
        lookAhead.resize(slots);
        for (const part of [executor, tasks, messages]) part.resize(slots);
      },
    );
    const steering = new QueueSteering(broker, () => [...tasks.sources, ...messages.sources]);
    this.#control = new RemoteControl({
      broker,
      node,
      settings: this.#options.celery ?? NO_SETTINGS,
      executor,
      revocations,
      steering,
      queues: new RunningQueues({
        broker,
        consumers: tasks,
        steering,
        status: () => this.status.consumers,
      }),
      limits,
      tally,
      resize: (by) => room.resize(by),
      figures: () => ({
        isolates: pool.stats.isolates,
        slots: room.slots,
        maxTasksPerIsolate: this.#options.maxTasksPerIsolate,
        prefetch: this.status.consumers.reduce((sum, { prefetch }) => sum + prefetch, 0),
      }),
      maxBodyBytes: this.#options.maxBodyBytes,
      onBack: () => {
        steering.followLater();
        this.#learnCancelled(executor).catch((error: unknown) => {
          log.error("Could not learn which jobs were cancelled: {error}", { error });
        });
      },
    });
    await this.#control.start();
    // As well: what is cancelled while it asks it hears.
    await this.#learnCancelled(executor);
    // Looked at once it listens, so that no change is missed.
    await steering.follow();
    await tasks.start();
    await messages.start();
    await announce();
    await this.#control.announce();
    this.#options.periodic.register(pool, periodic);
    this.#tell(served, consumers, queues);
  }

  /**
   * Takes nothing more and gives back what has not started, so that its successor in this node can take
   * it, and goes on with what runs. It says nothing of that to others: the successor will. `stop` is
   * still to follow.
   */
  async handOver(): Promise<void> {
    this.#isHandedOver = true;
    this.#options.periodic.unregister();
    await this.#stopTaking();
  }

  async #stopTaking(): Promise<void> {
    await Promise.all([this.#consumers?.cancel(), this.#messages?.cancel()]);
    this.#executor?.stopAccepting();
  }

  /** Takes no new work, finishes what runs until `abort`, then stops it and gives it back. */
  async stop(abort?: AbortSignal): Promise<void> {
    const executor = this.#executor;
    const messages = this.#messages;
    if (!this.#isHandedOver) {
      await this.#options.nodes.withdraw();
      await this.#stopTaking();
    }
    const abortRunning = () => {
      executor?.abortRunning();
      messages?.abortRunning();
    };
    if (abort?.aborted) abortRunning();
    else abort?.addEventListener("abort", abortRunning, { once: true });
    await Promise.all([executor?.idle(), messages?.idle()]);
    abort?.removeEventListener("abort", abortRunning);
    await this.#control?.stop();
    await Promise.all([this.#consumers?.close(), messages?.close()]);
    await this.#options.pool.stop(abort);
  }

  /** Asks the recorder which jobs must not run: they were cancelled while this worker did not hear. */
  async #learnCancelled(executor: Executor): Promise<void> {
    const { broker } = this.#options;
    try {
      const ids = await askCancelledIds(broker, { timeoutMs: CANCELLED_TIMEOUT_MS });
      // The youngest come first, and the oldest are forgotten first.
      for (const id of ids?.toReversed() ?? []) executor.revoke(id, true);
    } catch (error) {
      if (!(error instanceof BrokerAwayError)) throw error;
      log.debug("Could not ask which jobs were cancelled: {error}", { error });
    }
  }

  async #declare(queues: readonly string[]): Promise<void> {
    const { broker, queueType } = this.#options;
    await broker.declareExchange(DEAD_EXCHANGE);
    await broker.declareExchange(PUBSUB_EXCHANGE);
    await broker.declareQueue(DEAD_LETTERS_QUEUE);
    await JobEventPublisher.declare(broker);
    for (const binding of DEAD_BINDINGS) await broker.bind(binding);
    for (const queue of queues) {
      const { mismatch } = await broker.declareQueue(taskQueue(queue, queueType));
      if (mismatch !== undefined) {
        log.warn("Queue {queue} is used as it is: {mismatch}", { queue, mismatch });
      }
    }
  }

  #tell(
    served: readonly TaskDescriptor[],
    consumers: readonly ConsumerDescriptor[],
    queues: readonly string[],
  ): void {
    log.info("Serving {count} tasks from {queues}", {
      count: served.length,
      queues: queues.join(", "),
      tasks: served.map(({ name }) => name).join(" "),
    });
    if (consumers.length > 0) {
      log.info("Consuming messages from {queues}", {
        queues: consumers.map(({ queue }) => queue).join(", "),
      });
    }
    for (const queue of queues) {
      if (served.some((task) => task.queue === queue)) continue;
      log.warn("No task of this worker is on queue {queue}", { queue });
    }
  }
}

/**
 * The queues to take tasks from.
 * @throws DeclarationError where a consumer has one of them too: it would get tasks' requests.
 */
function taskQueues(
  given: readonly string[] | undefined,
  tasks: readonly TaskDescriptor[],
  consumers: readonly ConsumerDescriptor[],
): readonly string[] {
  for (const { queue, file } of consumers) {
    const task = tasks.find((one) => one.queue === queue);
    if (task === undefined) continue;
    throw new DeclarationError(
      `Cannot consume queue "${queue}" (${file}): task "${task.name}" (${task.file}) is taken from ` +
        "it, and a queue is for the one or the other",
    );
  }
  const queues = new Set(given ?? tasks.map(({ queue }) => queue));
  for (const { queue } of consumers) queues.delete(queue);
  return [...queues];
}
