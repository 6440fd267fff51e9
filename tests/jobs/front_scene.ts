/**
 * A front that accepts, shows and follows jobs, without a socket: on the broker inside the program, with
 * a store of its own and somebody who records what happens; and, where asked for, a worker.
 */
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { CONTROL_EXCHANGE, taskQueue } from "../../src/broker/topology.ts";
import { Heartbeat } from "../../src/heartbeat/ticker.ts";
import { createApp, type HttpApp } from "../../src/http/app.ts";
import { JobEventPublisher } from "../../src/jobs/event_publisher.ts";
import type { JobEvent } from "../../src/jobs/job_event.ts";
import { createJobServices, type JobServices } from "../../src/jobs/job_services.ts";
import { Recorder } from "../../src/jobs/recorder/recorder.ts";
import { enqueueAsks } from "../../src/jobs/enqueue_asks.ts";
import { NodesChannel } from "../../src/nodes/nodes_channel.ts";
import { SqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import type { TaskDescriptor } from "../../src/tasks/descriptor.ts";
import { PeriodicCallbacks } from "../../src/worker/periodic.ts";
import { Worker } from "../../src/worker/worker.ts";
import { ScriptedCaller } from "../http/front.ts";
import { type Folder, makeFolder } from "../support/folders.ts";
import { makePool } from "../support/pools.ts";
import { until } from "../support/waiting.ts";

export const QUEUE = "obedient";

/** A task that is known though nobody serves it. */
export const REMEMBERED: TaskDescriptor = {
  name: "remembered",
  file: "nowhere.ts",
  queue: QUEUE,
  timeoutMs: 1_000,
  isolation: "worker",
};

export interface FrontSceneOptions {
  /** Whether events are recorded from the beginning. Default true. */
  readonly records?: boolean;
  /** Whether there is a store at all. Default true. */
  readonly keeps?: boolean;
  /** Whether the obedient task is served. Default false. */
  readonly works?: boolean;
  /** Tasks that are remembered. Default: `REMEMBERED`. */
  readonly tasks?: readonly TaskDescriptor[];
  readonly maxUnderway?: number;
  readonly maxWatches?: number;
}

/** A record as a client sees it. */
export interface ShownJob {
  readonly id: string;
  readonly state: string;
  readonly attempt: number;
  readonly [member: string]: unknown;
}

export class FrontScene implements AsyncDisposable {
  readonly broker: Broker;
  readonly store: SqliteStore;
  readonly app: HttpApp;
  readonly jobs: JobServices;
  readonly #folder: Folder;
  readonly #nodes: NodesChannel;
  readonly #worker: Worker;
  #isWorking = false;
  #recorder: Recorder | undefined;

  private constructor(folder: Folder, broker: Broker, options: FrontSceneOptions) {
    const { keeps = true, maxUnderway = 10_000, maxWatches = 100 } = options;
    this.#folder = folder;
    this.broker = broker;
    this.store = new SqliteStore({ dataDir: `${folder.path}/store` });
    this.#nodes = new NodesChannel({ broker, node: "front", settleMs: 0 });
    this.jobs = createJobServices({
      broker,
      directory: this.#nodes,
      node: "front",
      version: "test",
      queueType: "classic",
      maxUnderway,
      maxWatches,
      ...(keeps ? { store: this.store } : {}),
    });
    this.#worker = new Worker({
      broker,
      nodes: this.#nodes,
      pool: makePool({ nodeId: "front", asks: enqueueAsks(this.jobs.acceptor) }),
      periodic: new PeriodicCallbacks(new Heartbeat()),
      node: "front",
      queueType: "classic",
      slots: 4,
      lookAhead: 0,
      groupAnswers: false,
      maxBodyBytes: 1_000_000,
    });
    this.app = createApp({
      caller: new ScriptedCaller(),
      directory: this.#nodes,
      nodes: { list: () => [] },
      jobs: this.jobs,
      health: { node: "front", broker: () => broker.state },
      options: { host: "127.0.0.1", maxBodyBytes: 10_000_000, exposeErrors: false },
    });
  }

  static async open(options: FrontSceneOptions = {}): Promise<FrontScene> {
    const { records = true, works = false, tasks = [REMEMBERED] } = options;
    const folder = await makeFolder({});
    const broker = new EmbeddedBroker({ dataDir: `${folder.path}/broker` }).connect();
    await broker.start();
    const scene = new FrontScene(folder, broker, options);
    await scene.store.open();
    await scene.#nodes.start();
    await scene.#remember(tasks);
    await broker.declareQueue(taskQueue(QUEUE, "classic"));
    await broker.declareExchange(CONTROL_EXCHANGE);
    await scene.jobs.acceptor.start();
    if (records) await scene.record();
    if (works) await scene.work();
    return scene;
  }

  /** As if a worker had been here, and had left. */
  async #remember(tasks: readonly TaskDescriptor[]): Promise<void> {
    const past = new NodesChannel({ broker: this.broker, node: "past", settleMs: 0 });
    await past.start();
    await past.serve(tasks);
    await past.stop();
    await this.#nodes.settled();
    await until(
      "the tasks are known",
      () => tasks.every(({ name }) => this.#nodes.find(name)?.nodes.length === 0),
    );
  }

  async work(): Promise<void> {
    this.#isWorking = true;
    await this.#worker.start();
  }

  /** Records what happens from now on, and publishes what is due. */
  async record(): Promise<void> {
    const recorder = new Recorder({
      broker: this.broker,
      store: this.store,
      nodes: this.#nodes,
      node: "front",
      queueType: "classic",
      keepResultsMs: 86_400_000,
      keepDeadLettersMs: 86_400_000,
      keepDevicesMs: 86_400_000,
      refused: (reason) => console.error(reason),
    });
    this.#recorder = recorder;
    recorder.watch(this.jobs.recorded);
    await recorder.start();
  }

  /** Publishes events, as a worker does. */
  async tell(...events: readonly JobEvent[]): Promise<void> {
    const publisher = new JobEventPublisher({ broker: this.broker, patienceMs: 0 });
    await Promise.all(events.map((event) => publisher.publish(event)));
  }

  post(path: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return Promise.resolve(
      this.app.request(path, { method: "POST", body: JSON.stringify(body), headers }),
    );
  }

  delete(path: string): Promise<Response> {
    return Promise.resolve(this.app.request(path, { method: "DELETE" }));
  }

  get(path: string, init: RequestInit = {}): Promise<Response> {
    return Promise.resolve(this.app.request(path, init));
  }

  /** Accepts one job of a task. @returns its id. */
  async submit(task: string, input: unknown, query = ""): Promise<string> {
    const response = await this.post(`/tasks/${task}/jobs${query}`, input);
    if (response.status !== 202) throw new Error(await response.text());
    return (await response.json()).id;
  }

  async shown(id: string, query = ""): Promise<ShownJob> {
    return await (await this.get(`/jobs/${id}${query}`)).json();
  }

  /** Messages in the task's queue. */
  async depth(): Promise<number> {
    return (await this.broker.inspectQueue(QUEUE))?.messages ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isWorking) await this.#worker.stop(AbortSignal.abort());
    await this.jobs.watcher.stop();
    await this.#recorder?.stop(AbortSignal.abort());
    await this.#nodes.stop();
    await this.broker.stop();
    await this.store.close();
    await this.#folder[Symbol.asyncDispose]();
  }
}
