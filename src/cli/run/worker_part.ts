/** The part of a node that runs tasks, with isolates of its own. */
import { getLogger } from "@logtape/logtape";
import type { Broker } from "../../broker/broker.ts";
import { DeclarationError } from "../../broker/errors.ts";
import type {
  BrokerConfig,
  ExchangeConfig,
  RouteConfig,
  WorkerConfig,
} from "../../config/config.ts";
import { deviceAsks } from "../../devices/device_asks.ts";
import type { DeviceCommands } from "../../devices/devices.ts";
import type { NodeHeartbeat } from "../../heartbeat/node_heartbeat.ts";
import { enqueueAsks } from "../../jobs/enqueue_asks.ts";
import type { JobServices } from "../../jobs/job_services.ts";
import type { BrokerExchanges } from "../../messages/broker_exchanges.ts";
import { exchangeAsks } from "../../messages/exchange_asks.ts";
import type { NodesChannel } from "../../nodes/nodes_channel.ts";
import { taskRoutes } from "../../nodes/routes.ts";
import type { ProgramFacts, Watching } from "../composition.ts";
import type { Node } from "../node.ts";
import type { MadeWorker, ReloadingWorkerOptions } from "../reloading_worker.ts";
import { StartupError } from "../startup_error.ts";
import type { Worker } from "../../worker/worker.ts";
import { MAX_INFLATED_BYTES } from "./broker_parts.ts";
import { celeryFacts } from "./celery_facts.ts";

const log = getLogger(["coxswain", "node"]);

/** What a node asks of its worker, whichever is its present one. */
export type RunningWorker = Pick<Worker, "status" | "served">;

/** Loads what a worker needs. @returns what makes one, with isolates of its own. */
export async function workerMaker(
  node: Node,
  config: {
    readonly worker: WorkerConfig;
    readonly broker: BrokerConfig;
    readonly exchanges: readonly ExchangeConfig[];
    readonly routes: readonly RouteConfig[];
    readonly node: { id: string };
  },
  program: ProgramFacts,
  broker: Broker,
  nodes: NodesChannel,
  heartbeat: NodeHeartbeat,
  exchanges: BrokerExchanges,
  jobs: JobServices,
  devices: DeviceCommands,
): Promise<() => MadeWorker> {
  const { worker: settings, node: { id } } = config;
  const { createPool } = await import("../../isolates/pool.ts");
  const { Worker } = await import("../../worker/worker.ts");
  const { taskLogger } = await import("../../worker/task_log.ts");
  const { PeriodicCallbacks } = await import("../../worker/periodic.ts");
  const { ChannelAsks } = await import("../../pubsub/channel_asks.ts");
  const slots = settings.isolates * settings.slots;
  const channels = new ChannelAsks(broker);
  await node.start(channels);
  return () => {
    const periodic = new PeriodicCallbacks(heartbeat.ticker);
    const pool = createPool({
      entryUrl: program.threadEntries.isolate,
      selfCommand: program.selfCommand,
      taskPaths: settings.taskPaths,
      demo: settings.demo,
      isolates: settings.isolates,
      slots: settings.slots,
      ...(settings.maxTasksPerIsolate === undefined
        ? {}
        : { maxTasksPerIsolate: settings.maxTasksPerIsolate }),
      ...(settings.maxMemoryBytes === undefined ? {} : { maxMemoryBytes: settings.maxMemoryBytes }),
      nodeId: id,
      onLog: taskLogger,
      asks: {
        ...exchangeAsks(exchanges),
        ...enqueueAsks(jobs.acceptor),
        ...channels.asks,
        ...deviceAsks(devices),
        ...periodic.asks,
      },
      onStuck: (stuck) => {
        log.warn("{stuck} killed isolates are held by native code", { stuck });
        if (stuck > settings.isolates * STUCK_PER_ISOLATE) giveUpLater();
      },
    });
    let patience: ReturnType<typeof setTimeout> | undefined;
    const giveUpLater = () => {
      patience ??= setTimeout(() => {
        patience = undefined;
        if (pool.stats.stuck <= settings.isolates * STUCK_PER_ISOLATE) return;
        node.giveUp("Too many isolates are held by native code: the process is to be started anew");
      }, STUCK_PATIENCE_MS).unref();
    };
    const worker = new Worker({
      broker,
      nodes,
      pool,
      periodic,
      node: id,
      ...(settings.queues === undefined ? {} : { queues: settings.queues }),
      exchanges: new Map(config.exchanges.map(({ name, type }) => [name, type])),
      queueType: config.broker.kind === "amqp" ? config.broker.queueType : "classic",
      routes: taskRoutes(config.routes),
      slots,
      isolates: settings.isolates,
      lookAhead: settings.lookAhead,
      groupAnswers: config.broker.kind === "amqp",
      maxBodyBytes: MAX_INFLATED_BYTES,
      ...(settings.maxTasksPerIsolate === undefined
        ? {}
        : { maxTasksPerIsolate: settings.maxTasksPerIsolate }),
      celery: {
        facts: celeryFacts(settings, config.broker),
        tellsEvents: settings.tellsEvents,
        ...(settings.allowsRemoteShutdown
          ? { shutDown: () => node.end("Celery's remote control") }
          : {}),
      },
    });
    return { worker, pool };
  };
}

export async function startWorker(node: Node, worker: Worker): Promise<Worker> {
  const { PoolStartError } = await import("../../isolates/pool.ts");
  try {
    await node.start(worker);
  } catch (error) {
    if (!(error instanceof PoolStartError || error instanceof DeclarationError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
  return worker;
}

/** One whose tasks are loaded anew when whoever watches says so. */
export async function startReloadingWorker(
  node: Node,
  options: ReloadingWorkerOptions,
  watching: Watching,
): Promise<RunningWorker> {
  const { ReloadingWorker } = await import("../reloading_worker.ts");
  const worker = new ReloadingWorker(options);
  await node.start(worker);
  watching.onWorker((change) => worker.reload(change));
  return worker;
}

/** Past so many threads that native code holds for each isolate, the worker is better started anew. */
const STUCK_PER_ISOLATE = 4;

/** On a busy machine killed threads take their time; what is stuck for so long stays stuck. */
const STUCK_PATIENCE_MS = 10_000;
