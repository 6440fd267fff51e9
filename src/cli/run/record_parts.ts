/** The parts of a node that have to do with jobs: what records them, what accepts and follows them. */
import type { Broker } from "../../broker/broker.ts";
import type { NodeConfig } from "../../config/config.ts";
import { createJobServices, type JobServices } from "../../jobs/job_services.ts";
import type { Recorder } from "../../jobs/recorder/recorder.ts";
import type { NodesChannel } from "../../nodes/nodes_channel.ts";
import type { RosterKeeper } from "../../nodes/roster_keeper.ts";
import { taskRoutes } from "../../nodes/routes.ts";
import { StoreRefusedError } from "../../store/errors.ts";
import type { Store } from "../../store/store.ts";
import { VERSION } from "../../version.ts";
import type { ThreadEntries } from "../composition.ts";
import type { Node } from "../node.ts";
import { StartupError } from "../startup_error.ts";
import { makeStore } from "./adapters.ts";

/** Where records are kept, and who keeps them. */
export interface Records {
  readonly store: Store;
  readonly recorder: Recorder;
}

/** Undefined where this node keeps no job records. */
export async function startRecorder(
  node: Node,
  config: NodeConfig,
  broker: Broker,
  nodes: NodesChannel,
  roster: RosterKeeper,
  threads: ThreadEntries,
): Promise<Records | undefined> {
  if (config.recorder === undefined) return undefined;
  const { Recorder } = await import("../../jobs/recorder/recorder.ts");
  const { RecorderTakenError } = await import("../../jobs/recorder/claim.ts");
  const { store: place, keepResultsMs, keepDeadLettersMs, keepDevicesMs } = config.recorder;
  try {
    const store = await makeStore(place, threads);
    const recorder = new Recorder({
      broker,
      store,
      nodes,
      routes: taskRoutes(config.routes),
      node: config.node.id,
      queueType: config.broker.kind === "amqp" ? config.broker.queueType : "classic",
      keepResultsMs,
      keepDeadLettersMs,
      keepDevicesMs,
      roster,
      refused: (reason) => node.giveUp(reason.message),
    });
    await node.start(recorder);
    return { store, recorder };
  } catch (error) {
    if (!(error instanceof RecorderTakenError || error instanceof StoreRefusedError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
}

/** What accepts jobs, for clients or for running tasks, and what follows them. */
export async function startJobs(
  node: Node,
  config: NodeConfig,
  broker: Broker,
  directory: NodesChannel,
  store: Store | undefined,
): Promise<JobServices> {
  const jobs = createJobServices({
    ...(store === undefined ? {} : { store }),
    broker,
    directory,
    routes: taskRoutes(config.routes),
    node: config.node.id,
    version: VERSION,
    queueType: config.broker.kind === "amqp" ? config.broker.queueType : "classic",
    maxUnderway: config.mode === "work" ? MAX_TASKS_JOBS_UNDERWAY : config.calls.maxPending,
    maxWatches: config.mode === "work" ? 0 : config.channels.maxSubscribers,
  });
  await node.start(jobs.acceptor);
  await node.start(jobs.watcher);
  return jobs;
}

/** Most jobs of its own tasks that a worker accepts at once. */
const MAX_TASKS_JOBS_UNDERWAY = 10_000;
