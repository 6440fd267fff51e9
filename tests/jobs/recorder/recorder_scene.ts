/** A recorder on a real broker and a real store, with what tests need to tell it of jobs. */
import type { Broker } from "../../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../../src/broker/embedded/embedded_broker.ts";
import type { Delivery } from "../../../src/broker/message.ts";
import { taskQueue } from "../../../src/broker/topology.ts";
import { JobEventPublisher } from "../../../src/jobs/event_publisher.ts";
import type { Job, JobState } from "../../../src/jobs/job.ts";
import type { JobEvent } from "../../../src/jobs/job_event.ts";
import { Recorder, type RecorderOptions } from "../../../src/jobs/recorder/recorder.ts";
import type { Clock } from "../../../src/lifecycle/clock.ts";
import { newId } from "../../../src/platform/ids.ts";
import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import type { Store } from "../../../src/store/store.ts";
import type { ScheduleDescriptor } from "../../../src/tasks/schedule.ts";
import { type Folder, makeFolder } from "../../support/folders.ts";
import { until } from "../../support/waiting.ts";

export const DAY_MS = 86_400_000;

/** Schedules as if nodes had announced them. */
export class Announced {
  readonly list: ScheduleDescriptor[] = [];
  schedules(): readonly ScheduleDescriptor[] {
    return this.list;
  }
  descriptor(): undefined {
    return undefined;
  }
}

export interface SceneOptions {
  /** Default: an embedded broker of its own. */
  readonly connect?: () => Promise<Broker>;
  /** Default: SQLite in the scene's folder. */
  readonly makeStore?: (folder: Folder, clock?: Clock) => Store;
  readonly clock?: Clock;
  readonly recorder?: Partial<RecorderOptions>;
}

export class RecorderScene implements AsyncDisposable {
  readonly nodes = new Announced();
  readonly refusals: string[] = [];
  readonly folder: Folder;
  readonly broker: Broker;
  readonly #options: SceneOptions;
  readonly #events: JobEventPublisher;
  #stops: (() => Promise<void>)[] = [];
  #store: Store | undefined;
  #recorder: Recorder | undefined;
  #stores = 0;

  private constructor(folder: Folder, broker: Broker, options: SceneOptions) {
    this.folder = folder;
    this.broker = broker;
    this.#options = options;
    this.#events = new JobEventPublisher({ broker, patienceMs: 5_000 });
  }

  /** Without a recorder. */
  static async open(options: SceneOptions = {}): Promise<RecorderScene> {
    const folder = await makeFolder();
    let broker: Broker;
    if (options.connect === undefined) {
      broker = new EmbeddedBroker({ dataDir: folder.file("broker") }).connect();
      await broker.start();
    } else broker = await options.connect();
    await JobEventPublisher.declare(broker);
    return new RecorderScene(folder, broker, options);
  }

  /** With a recorder that has started. */
  static async start(options: SceneOptions = {}): Promise<RecorderScene> {
    const scene = await RecorderScene.open(options);
    await scene.record();
    return scene;
  }

  get store(): Store {
    if (this.#store === undefined) throw new Error("There is no recorder");
    return this.#store;
  }

  get recorder(): Recorder {
    if (this.#recorder === undefined) throw new Error("There is no recorder");
    return this.#recorder;
  }

  /** Starts a recorder; on the same store as the one before. */
  async record(options: Partial<RecorderOptions> = {}): Promise<Recorder> {
    const { clock, makeStore = sqlite, recorder: further = {} } = this.#options;
    const store = options.store ?? makeStore(this.folder, clock);
    this.#store = store;
    const recorder = new Recorder({
      broker: this.broker,
      store,
      nodes: this.nodes,
      node: `recorder-${++this.#stores}`,
      queueType: "classic",
      keepResultsMs: 7 * DAY_MS,
      keepDeadLettersMs: 30 * DAY_MS,
      keepDevicesMs: 7 * DAY_MS,
      ...(clock === undefined ? {} : { clock }),
      refused: (reason) => this.refusals.push(reason.message),
      ...further,
      ...options,
    });
    this.#recorder = recorder;
    this.#stops.push(() => recorder.stop());
    await recorder.start();
    return recorder;
  }

  /** Tells events as workers and fronts do; resolves when the broker has them. */
  async tell(...events: readonly JobEvent[]): Promise<void> {
    await Promise.all(events.map((event) => this.#events.publish(event)));
  }

  /** Resolves with the job once it is in a state. */
  async reached(id: string, state: JobState, limitMs = 10_000): Promise<Job> {
    let job: Job | undefined;
    await until(`job ${id} is ${state}`, async () => {
      job = await this.store.get(id);
      return job?.state === state;
    }, limitMs);
    if (job === undefined) throw new Error(`There is no job ${id}`);
    return job;
  }

  /** A queue of its own with a consumer, as a worker's. */
  async worker(prefetch = 1_000): Promise<{
    readonly queue: string;
    readonly deliveries: Delivery[];
  }> {
    const queue = `work-${newId()}`;
    await this.broker.declareQueue(taskQueue(queue, "classic"));
    return { queue, deliveries: await this.consume(queue, prefetch) };
  }

  /** Acks and collects all that comes. */
  async consume(queue: string, prefetch = 1_000): Promise<Delivery[]> {
    const deliveries: Delivery[] = [];
    const consumer = await this.broker.consume(queue, { prefetch });
    const loop = (async () => {
      for await (const delivery of consumer) {
        deliveries.push(delivery);
        delivery.ack();
      }
    })();
    this.#stops.push(async () => {
      await consumer.close();
      await loop;
    });
    return deliveries;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const stop of this.#stops.toReversed()) await stop();
    await this.broker.stop();
    await this.folder[Symbol.asyncDispose]();
  }
}

function sqlite(folder: Folder, clock?: Clock): Store {
  return new SqliteStore({
    dataDir: folder.file("store"),
    ...(clock === undefined ? {} : { clock }),
  });
}

/** The first event of a job, by default one that is to be published at once. */
export function scheduled(
  queue: string,
  dueAt: number,
  changes: Partial<Extract<JobEvent, { kind: "scheduled" }>> = {},
): Extract<JobEvent, { kind: "scheduled" }> {
  const now = Date.now();
  return {
    kind: "scheduled",
    id: newId(),
    task: "echo",
    queue,
    createdAt: now,
    attempt: 1,
    seq: now,
    at: now,
    dueAt,
    request: {
      terms: {},
      payload: { input: { argsJson: "[1]", kwargsJson: "{}" }, headers: { "x-user": "7" } },
    },
    ...changes,
  };
}

/** The end of a job that a worker tells. */
export function outcome(
  first: JobEvent,
  changes: Partial<Extract<JobEvent, { kind: "outcome" }>> = {},
): Extract<JobEvent, { kind: "outcome" }> {
  const { id, task, queue, createdAt } = first;
  const now = Date.now();
  return {
    kind: "outcome",
    id,
    task,
    queue,
    createdAt,
    attempt: 1,
    seq: now,
    at: now,
    run: { node: "worker-1", startedAt: now, redelivered: false },
    outcome: { kind: "succeeded", resultJson: "42" },
    settles: true,
    ...changes,
  };
}
