/**
 * What Celery's remote control can see and do of a worker: the panel that src/celery/control answers
 * with. It only joins what the worker's parts know.
 */
import { inputOf, REDACTED } from "../celery/events/event.ts";
import type { EventSender } from "../celery/events/event_sender.ts";
import { celeryNodeName } from "../celery/node_name.ts";
import type {
  AddedBinding,
  ControlPanel,
  HeldRequest as CeleryRequest,
  RequestInfo,
  WorkerFacts,
  WorkerFigures,
} from "../celery/control/panel.ts";
import { decompress, InflateError } from "../calls/wire/compression.ts";
import type { Executor, HeldRequest } from "./executor.ts";
import type { RequestTally } from "./request_tally.ts";
import type { Revocations } from "./revocations.ts";
import type { RunningQueues } from "./running_queues.ts";
import type { TaskLimits } from "./task_limits.ts";

export interface WorkerPanelOptions {
  readonly node: string;
  readonly facts: WorkerFacts;
  readonly shutDown?: () => void;
  readonly executor: Executor;
  readonly revocations: Revocations;
  readonly queues: RunningQueues;
  readonly limits: TaskLimits;
  readonly events: EventSender;
  readonly tally: RequestTally;
  /** Changes how many isolates run; returns why it cannot. */
  readonly resize: (by: number) => string | undefined;
  readonly figures: () => Pick<
    WorkerFigures,
    "isolates" | "slots" | "maxTasksPerIsolate" | "prefetch"
  >;
  /** Arguments that inflate to more are not shown. */
  readonly maxBodyBytes: number;
}

export class WorkerPanel implements ControlPanel {
  readonly name: string;
  readonly shutDown?: () => void;
  readonly #options: WorkerPanelOptions;
  readonly #startedAt = performance.now();

  constructor(options: WorkerPanelOptions) {
    this.#options = options;
    this.name = celeryNodeName(options.node);
    if (options.shutDown !== undefined) this.shutDown = options.shutDown;
  }

  get facts(): WorkerFacts {
    return this.#options.facts;
  }

  get figures(): WorkerFigures {
    return {
      ...this.#options.figures(),
      total: this.#options.tally.byTask,
      pid: process.pid,
      uptimeMs: performance.now() - this.#startedAt,
      rusage: resourceUsage(),
      memoryBytes: process.memoryUsage.rss(),
    };
  }

  get tasks() {
    return this.#options.limits.tasks;
  }

  get held(): readonly CeleryRequest[] {
    return [...this.#options.executor.held()].map((held) => ({
      state: held.state,
      id: held.task.id,
      priority: held.delivery.message.properties.priority ?? 0,
      ...(held.state === "scheduled" && held.at !== undefined ? { dueAt: held.at } : {}),
      info: () => this.#infoOf(held),
    }));
  }

  get revoked() {
    return this.#options.revocations.list();
  }

  get queues(): readonly string[] {
    return this.#options.queues.consumed;
  }

  revoke(ids: readonly string[], terminate: boolean): readonly string[] {
    const { executor } = this.#options;
    const held = terminate ? new Set([...executor.held()].map(({ task }) => task.id)) : new Set();
    for (const id of ids) executor.revoke(id, terminate);
    return ids.filter((id) => held.has(id));
  }

  limit(task: string, limits: { readonly hardMs?: number; readonly softMs?: number }): boolean {
    return this.#options.limits.set(task, limits);
  }

  addQueue(queue: string, binding: AddedBinding): Promise<void> {
    return this.#options.queues.add(queue, binding);
  }

  cancelQueue(queue: string): Promise<void> {
    return this.#options.queues.cancel(queue);
  }

  resize(isolates: number): string | undefined {
    return this.#options.resize(isolates);
  }

  tellEvents(isWanted: boolean): Promise<boolean> {
    return this.#options.events.tell(isWanted);
  }

  beat(): void {
    this.#options.events.beat();
  }

  async #infoOf({ state, task, delivery, at }: HeldRequest): Promise<RequestInfo> {
    const { exchange, routingKey, properties } = delivery.message;
    return {
      id: task.id,
      name: task.task,
      ...await this.#inputOf({ task, delivery }),
      type: task.task,
      hostname: this.name,
      time_start: state === "active" && at !== undefined ? at / 1_000 : null,
      // It is acknowledged once it has ended, so that nothing is lost with this worker.
      acknowledged: false,
      delivery_info: {
        exchange,
        routing_key: routingKey,
        priority: properties.priority ?? 0,
        redelivered: delivery.redelivered,
      },
      worker_pid: state === "active" ? process.pid : null,
    };
  }

  async #inputOf(
    { task, delivery: { message: { body } } }: Pick<HeldRequest, "task" | "delivery">,
  ): Promise<{ readonly args: unknown; readonly kwargs: unknown }> {
    const redact = this.tasks.find(({ name }) => name === task.task)?.redact;
    if (redact?.input) return { args: [REDACTED], kwargs: {} };
    const notShown = { args: ["..."], kwargs: {} };
    if (!task.isCompressed) return inputOf(body) ?? notShown;
    try {
      return inputOf(await decompress(body, this.#options.maxBodyBytes)) ?? notShown;
    } catch (error) {
      if (!(error instanceof InflateError)) throw error;
      return notShown;
    }
  }
}

/** Of this process, by Python's names; memory in KiB, times in seconds. */
function resourceUsage(): Readonly<Record<string, number>> {
  const usage = process.resourceUsage();
  return {
    utime: usage.userCPUTime / 1e6,
    stime: usage.systemCPUTime / 1e6,
    maxrss: usage.maxRSS,
    ixrss: usage.sharedMemorySize,
    idrss: usage.unsharedDataSize,
    isrss: usage.unsharedStackSize,
    minflt: usage.minorPageFault,
    majflt: usage.majorPageFault,
    nswap: usage.swappedOut,
    inblock: usage.fsRead,
    oublock: usage.fsWrite,
    msgsnd: usage.ipcSent,
    msgrcv: usage.ipcReceived,
    nsignals: usage.signalsCount,
    nvcsw: usage.voluntaryContextSwitches,
    nivcsw: usage.involuntaryContextSwitches,
  };
}
