/** A worker with the obedient task, jobs published to it as a front does, and the events that it tells. */
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import type { Broker, Consumer } from "../../src/broker/broker.ts";
import { DEAD_LETTERS_QUEUE, RECORDER_QUEUE } from "../../src/broker/topology.ts";
import { encodeRevocation } from "../../src/calls/wire/control_message.ts";
import { encodeTask, type TaskRequest } from "../../src/calls/wire/task_message.ts";
import { Heartbeat } from "../../src/heartbeat/ticker.ts";
import { JobEventPublisher } from "../../src/jobs/event_publisher.ts";
import { decodeJobEvents, type JobEvent } from "../../src/jobs/job_event.ts";
import { NodesChannel } from "../../src/nodes/nodes_channel.ts";
import { newId } from "../../src/platform/ids.ts";
import { PeriodicCallbacks } from "../../src/worker/periodic.ts";
import { Worker } from "../../src/worker/worker.ts";
import { type Folder, makeFolder } from "../support/folders.ts";
import { makePool } from "../support/pools.ts";
import type { Order } from "../support/tasks/obedient.ts";
import { until } from "../support/waiting.ts";

/** The queue of the obedient task. */
export const QUEUE = "obedient";

export class JobScene implements AsyncDisposable {
  readonly events: JobEvent[] = [];
  readonly broker: Broker;
  readonly #folder: Folder;
  readonly #nodes: NodesChannel;
  readonly #worker: Worker;
  #recorder: Consumer | undefined;

  private constructor(folder: Folder, broker: Broker, taskPath?: string) {
    this.#folder = folder;
    this.broker = broker;
    this.#nodes = new NodesChannel({ broker, node: "worker-1", settleMs: 0 });
    this.#worker = new Worker({
      broker,
      nodes: this.#nodes,
      pool: makePool({ nodeId: "worker-1", ...(taskPath ? { taskPaths: [taskPath] } : {}) }),
      periodic: new PeriodicCallbacks(new Heartbeat()),
      node: "worker-1",
      queueType: "classic",
      slots: 1,
      lookAhead: 0,
      groupAnswers: false,
      maxBodyBytes: 1_000_000,
    });
  }

  /** @param options `records`: whether somebody reads the events from the beginning, default true. */
  static async open(
    { records = true, tasks }: { readonly records?: boolean; readonly tasks?: string } = {},
  ): Promise<JobScene> {
    const folder = await makeFolder(tasks === undefined ? {} : { "tasks.ts": tasks });
    const broker = new EmbeddedBroker({ dataDir: `${folder.path}/data` }).connect();
    await broker.start();
    const scene = new JobScene(
      folder,
      broker,
      tasks === undefined ? undefined : `${folder.path}/tasks.ts`,
    );
    if (records) await scene.record();
    await scene.#nodes.start();
    await scene.#worker.start();
    return scene;
  }

  /** Reads the events from now on. */
  async record(): Promise<void> {
    await JobEventPublisher.declare(this.broker);
    const recorder = await this.broker.consume(RECORDER_QUEUE.name, { prefetch: 100 });
    this.#recorder = recorder;
    void (async () => {
      for await (const delivery of recorder) {
        const decoded = decodeJobEvents(delivery.message.body);
        if (decoded.kind === "events") this.events.push(...decoded.events);
        delivery.ack();
      }
    })();
  }

  /** Publishes a job of the obedient task. @returns its id. */
  async submit(order: Order, options: Partial<TaskRequest> = {}): Promise<string> {
    const id = newId();
    await this.broker.publish(
      await encodeTask({
        id,
        task: "obedient",
        input: { argsJson: JSON.stringify([order]), kwargsJson: "{}" },
        kind: "job",
        queue: QUEUE,
        headers: { "x-told": "yes" },
        origin: "test",
        version: "0",
        ...options,
      }),
      { confirm: true },
    );
    return id;
  }

  /** What was told of a job so far. */
  of(id: string): readonly JobEvent[] {
    return this.events.filter((event) => event.id === id);
  }

  /** Resolves with the first event of a kind that was told of a job. */
  async told<Kind extends JobEvent["kind"]>(
    id: string,
    kind: Kind,
  ): Promise<Extract<JobEvent, { readonly kind: Kind }>> {
    const isOfKind = (event: JobEvent): event is Extract<JobEvent, { readonly kind: Kind }> =>
      event.id === id && event.kind === kind;
    await until(`${kind} is told`, () => this.events.some(isOfKind));
    const event = this.events.find(isOfKind);
    if (event === undefined) throw new Error("unreachable: it was there");
    return event;
  }

  /** Stops a job as an operator does, wherever it is. */
  async revoke(id: string): Promise<void> {
    await this.broker.publish(encodeRevocation({ ids: [id], terminate: true }));
  }

  /** Messages of jobs that are ready, or held by the worker. */
  async depth(): Promise<number> {
    return (await this.broker.inspectQueue(QUEUE))?.messages ?? 0;
  }

  /** Reasons of the dead letters, which are taken. */
  async deadLetters(): Promise<readonly string[]> {
    const { messages = 0 } = await this.broker.inspectQueue(DEAD_LETTERS_QUEUE.name) ?? {};
    const reasons: string[] = [];
    if (messages === 0) return reasons;
    const consumer = await this.broker.consume(DEAD_LETTERS_QUEUE.name, { prefetch: 100 });
    for await (const delivery of consumer) {
      reasons.push(String(delivery.message.properties.headers?.["cox-dead-reason"]));
      delivery.ack();
      if (reasons.length === messages) break;
    }
    return reasons;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.stop(AbortSignal.abort());
    await this.#recorder?.close();
    await this.#nodes.stop();
    await this.broker.stop();
    await this.#folder[Symbol.asyncDispose]();
  }
}
