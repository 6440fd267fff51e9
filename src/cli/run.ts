/**
 * The composition root: a node's configuration becomes its parts, started in the order in which they
 * need each other. Each part is loaded only where it is used, which keeps the start short and a worker
 * free of the web part. run/adapters.ts alone names adapters.
 */
import { getLogger } from "@logtape/logtape";
import { BrokerCaller } from "../calls/broker_caller.ts";
import type { NodeConfig } from "../config/config.ts";
import type { Load } from "../heartbeat/beacon.ts";
import { JobEventPublisher } from "../jobs/event_publisher.ts";
import { RecorderWatch } from "../jobs/recorder_watch.ts";
import { NodeHeartbeat } from "../heartbeat/node_heartbeat.ts";
import { BrokerExchanges } from "../messages/broker_exchanges.ts";
import { BrokerQueues } from "../messages/broker_queues.ts";
import { VERSION } from "../version.ts";
import type { WorkerStatus } from "../worker/worker.ts";
import type { ProgramFacts, Watching } from "./composition.ts";
import { Node } from "./node.ts";
import { Presence } from "./presence.ts";
import { openBroker } from "./run/adapters.ts";
import {
  declareExchanges,
  nodesChannel,
  queueSources,
  rosterKeeper,
  startCaller,
  startExplained,
} from "./run/broker_parts.ts";
import { startCommands, startDevices } from "./run/device_part.ts";
import { startJobs, startRecorder } from "./run/record_parts.ts";
import {
  type RunningWorker,
  startReloadingWorker,
  startWorker,
  workerMaker,
} from "./run/worker_part.ts";
import { listen } from "./run/listener.ts";

export {
  openBrokerCaller,
  openBrokerChannels,
  openBrokerLists,
  openBrokerSink,
} from "./run/command_connections.ts";
export { openBrokerDevices } from "./run/device_connection.ts";

const log = getLogger(["coxswain", "node"]);

/** Runs a node until a signal stops it, and tells the exit code. See `CompositionRoot`. */
export async function runNode(
  config: NodeConfig,
  program: ProgramFacts,
  watching?: Watching,
): Promise<number | undefined> {
  const node = new Node(config.node, watching);
  try {
    await startParts(node, config, program, watching);
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
  log.info("Ready: {mode} node {node}", { mode: config.mode, node: config.node.id });
  watching?.onReady();
  return await node.runUntilStopped();
}

async function startParts(
  node: Node,
  config: NodeConfig,
  program: ProgramFacts,
  watching: Watching | undefined,
): Promise<void> {
  const { id } = config.node;
  const broker = await openBroker(node, config.broker, id);
  await declareExchanges(broker, config.exchanges);
  const exchanges = new BrokerExchanges(broker);
  let worker: RunningWorker | undefined;
  let caller: BrokerCaller | undefined;
  const heartbeat = new NodeHeartbeat({
    broker,
    settings: config.heartbeat,
    facts: () => ({
      node: id,
      role: config.mode,
      version: VERSION,
      load: loadOf(worker, caller),
      tasks: worker?.served.map(({ name }) => name) ?? [],
    }),
  });
  const nodes = nodesChannel(broker, id, {
    ...(config.broker.kind === "embedded" ? { settleMs: 0 } : {}),
    schedules: config.schedules,
  });
  const roster = rosterKeeper(broker, nodes, id, config.heartbeat.exchange, {
    publishes: true,
    hearsCelery: config.broker.kind === "amqp",
  });
  // Before the channel, so that it hears who answers the channel's first question.
  if (config.mode !== "work" || config.recorder !== undefined) await startExplained(node, roster);
  await node.start(nodes);
  await JobEventPublisher.declare(broker);
  const { threadEntries } = program;
  const kept = await startRecorder(node, config, broker, nodes, roster, threadEntries);
  const watch = new RecorderWatch(broker);
  await node.start(watch);
  const jobs = await startJobs(node, config, broker, nodes, kept?.store);
  kept?.recorder.watch(jobs.recorded);
  const devices = config.mode === "work"
    ? undefined
    : await startDevices(node, { broker, id, config, heartbeat, roster });
  node.heedSignals();
  if (config.mode !== "serve") {
    const commands = devices ?? await startCommands(node, broker);
    const make = await workerMaker(
      node,
      config,
      program,
      broker,
      nodes,
      heartbeat,
      exchanges,
      jobs,
      commands,
    );
    worker = watching === undefined
      ? await startWorker(node, make().worker)
      : await startReloadingWorker(node, { make, nodes, broker }, watching);
  }
  const health = {
    node: id,
    broker: () => broker.state,
    heartbeat: () => heartbeat.status,
    isStopping: () => node.isStopping,
    jobEvents: () => watch.status,
    ...healthOf(worker),
    ...(kept === undefined ? {} : { recorder: () => kept.recorder.status }),
  };
  if (config.mode !== "work") {
    caller = await startCaller(node, broker, nodes, config, id, config.http.maxBodyBytes);
    const { createApp } = await import("../http/app.ts");
    const { Channels } = await import("../pubsub/channels.ts");
    const channels = new Channels({ broker, ...config.channels });
    await node.start(channels);
    const app = createApp({
      caller,
      channels,
      jobs,
      ...(devices === undefined ? {} : { devices, deviceCommands: devices }),
      ...(kept === undefined ? {} : { deviceRecords: kept.store }),
      directory: nodes,
      nodes: roster,
      exchanges,
      queues: new BrokerQueues(broker, queueSources(nodes, roster)),
      health,
      options: config.http,
    });
    await listen(node, config.http, app, "front");
    // Before the server stops, which waits for its answers: streams have no end of their own.
    node.add({
      start: () => Promise.resolve(),
      stop: () => {
        channels.endSubscriptions();
        jobs.watcher.endWatches();
        return Promise.resolve();
      },
    });
  } else if (config.health !== undefined) {
    const { createHealthApp } = await import("../http/app.ts");
    await listen(node, config.health, createHealthApp({ health }), "health");
  }
  await startExplained(node, new Presence(heartbeat, nodes));
}

function healthOf(worker: RunningWorker | undefined): { readonly worker?: () => WorkerStatus } {
  return worker === undefined ? {} : { worker: () => worker.status };
}

/** What a beacon says of what the node does now. */
function loadOf(worker: RunningWorker | undefined, caller: BrokerCaller | undefined): Load {
  const idle = { running: 0, waiting: 0, isolates: 0, stuckIsolates: 0, consumers: [] };
  const { running, waiting, isolates, stuckIsolates, consumers } = worker?.status ?? idle;
  return {
    running,
    waiting,
    isolates,
    stuckIsolates,
    consumers,
    memoryBytes: process.memoryUsage.rss(),
    ...(caller === undefined ? {} : { pendingCalls: caller.pending }),
  };
}
