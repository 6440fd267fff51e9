/**
 * The composition root: a node's configuration becomes its parts, started in the order in which they
 * need each other. The only file that names adapters; each part is loaded only where it is used, which
 * keeps the start short and a worker free of the web part.
 */
import { getLogger } from "@logtape/logtape";
import type { Broker, ExchangeSpec } from "../broker/broker.ts";
import { DeclarationError } from "../broker/errors.ts";
import { PUBSUB_EXCHANGE } from "../broker/topology.ts";
import { BrokerCaller } from "../calls/broker_caller.ts";
import type {
  AmqpBrokerConfig,
  BrokerConfig,
  CallConfig,
  CallsConfig,
  ExchangeConfig,
  ListConfig,
  NodeConfig,
  PublishConfig,
  StoreConfig,
  SubscribeConfig,
  WorkerConfig,
} from "../config/config.ts";
import type { Load } from "../heartbeat/beacon.ts";
import { JobEventPublisher } from "../jobs/event_publisher.ts";
import type { Recorder } from "../jobs/recorder/recorder.ts";
import { RecorderWatch } from "../jobs/recorder_watch.ts";
import { HeartbeatExchangeError, NodeHeartbeat } from "../heartbeat/node_heartbeat.ts";
import { enqueueAsks } from "../jobs/enqueue_asks.ts";
import { createJobServices, type JobServices } from "../jobs/job_services.ts";
import type { Component } from "../lifecycle/component.ts";
import { BrokerExchanges, declareConfigured } from "../messages/broker_exchanges.ts";
import { BrokerQueues, type QueueSources } from "../messages/broker_queues.ts";
import { exchangeAsks } from "../messages/exchange_asks.ts";
import { NodesChannel, type NodesChannelOptions } from "../nodes/nodes_channel.ts";
import { RosterKeeper } from "../nodes/roster_keeper.ts";
import { StoreRefusedError } from "../store/errors.ts";
import type { Store } from "../store/store.ts";
import { VERSION } from "../version.ts";
import { problemOfChannel } from "../pubsub/channel_name.ts";
import { publishOnChannel } from "../pubsub/publish.ts";
import type { Worker, WorkerStatus } from "../worker/worker.ts";
import { publishToExchange, queueSource } from "./broker_messages.ts";
import type {
  OpenCaller,
  OpenChannels,
  OpenLists,
  OpenSink,
  ProgramFacts,
  Watching,
} from "./composition.ts";
import { Node } from "./node.ts";
import { Presence } from "./presence.ts";
import type { MadeWorker, ReloadingWorkerOptions } from "./reloading_worker.ts";
import { StartupError } from "./startup_error.ts";

const log = getLogger(["coxswain", "node"]);

/** Largest body that a worker inflates where no front's limit says less: RabbitMQ's own limit. */
const MAX_INFLATED_BYTES = 16 * 2 ** 20;
/** Said while the broker is waited for, so that nobody wonders. */
const WAITING_AFTER_MS = 1_000;

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

/** A caller with its own connection, for the command line. See `CompositionRoot`. */
export async function openBrokerCaller(
  config: CallConfig,
  broker: AmqpBrokerConfig,
  signal: AbortSignal,
): Promise<OpenCaller> {
  const node = new Node(config.node);
  try {
    const connection = await openBroker(node, broker, config.node.id, signal);
    const nodes = nodesChannel(connection, config.node.id);
    await node.start(nodes);
    const caller = await startCaller(node, connection, nodes, config.calls, config.node.id);
    await nodes.settled(signal);
    return { caller, close: () => node.stopParts(AbortSignal.abort()) };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}

/** Looks at nodes without being one, for the command line. See `CompositionRoot`. */
export async function openBrokerLists(
  config: ListConfig,
  broker: AmqpBrokerConfig,
  signal: AbortSignal,
): Promise<OpenLists> {
  const node = new Node(config.node);
  try {
    const { id } = config.node;
    const connection = await openBroker(node, broker, id, signal);
    const nodes = nodesChannel(connection, id);
    const roster = rosterKeeper(connection, nodes, id, config.heartbeatExchange, false);
    await startExplained(node, roster);
    await node.start(nodes);
    await nodes.settled(signal);
    return {
      tasks: () => Promise.resolve(JSON.stringify(nodes.list())),
      nodes: () => Promise.resolve(JSON.stringify(roster.list())),
      ...queueSource(new BrokerQueues(connection, queueSources(nodes, roster))),
      close: () => node.stopParts(AbortSignal.abort()),
    };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}

/** Publishes for the command line. See `CompositionRoot`. */
export async function openBrokerSink(
  config: PublishConfig,
  broker: AmqpBrokerConfig,
  signal: AbortSignal,
): Promise<OpenSink> {
  const node = new Node(config.node);
  try {
    const connection = await openBroker(node, broker, config.node.id, signal);
    const exchanges = new BrokerExchanges(connection);
    return {
      publishToExchange: (exchange, message, options) =>
        publishToExchange(exchanges, exchange, message, options),
      publishToChannel: async (channel, { text, contentType }) => {
        const problem = problemOfChannel(channel);
        if (problem !== undefined) {
          throw new StartupError(`Cannot publish: channel ${JSON.stringify(channel)} ${problem}`);
        }
        await connection.declareExchange(PUBSUB_EXCHANGE);
        const payload = { contentType, body: new TextEncoder().encode(text) };
        const messageId = await publishOnChannel(connection, channel, payload);
        return JSON.stringify({ id: messageId, channel });
      },
      close: () => node.stopParts(AbortSignal.abort()),
    };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}

/** Subscribes for the command line. See `CompositionRoot`. */
export async function openBrokerChannels(
  config: SubscribeConfig,
  broker: AmqpBrokerConfig,
  pattern: string,
  signal: AbortSignal,
): Promise<OpenChannels> {
  const node = new Node(config.node);
  try {
    const connection = await openBroker(node, broker, config.node.id, signal);
    const { Channels } = await import("../pubsub/channels.ts");
    const channels = new Channels({
      broker: connection,
      pattern,
      replay: KEPT_FOR_A_TERMINAL,
      maxBacklog: KEPT_FOR_A_TERMINAL.maxMessages,
      maxSubscribers: 1,
    });
    // From before the queue is there: what comes first is not missed.
    const subscription = channels.subscribe(pattern);
    await node.start(channels);
    return {
      subscribe: async function* (_, { signal }) {
        signal.addEventListener("abort", () => subscription.close(), { once: true });
        if (signal.aborted) subscription.close();
        for (let events = await subscription.next(); events.length > 0;) {
          for (const { json } of events) yield json;
          events = await subscription.next();
        }
      },
      close: () => node.stopParts(AbortSignal.abort()),
    };
  } catch (error) {
    await node.stopParts(AbortSignal.abort());
    throw error;
  }
}

/** What waits for a terminal that is slower than the channels. */
const KEPT_FOR_A_TERMINAL = { maxMessages: 10_000, maxBytes: 2 ** 25, maxAgeMs: 60 * 60_000 };

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
  const roster = rosterKeeper(broker, nodes, id, config.heartbeat.exchange, true);
  // Before the channel, so that it hears who answers the channel's first question.
  if (config.mode !== "work") await startExplained(node, roster);
  await node.start(nodes);
  await JobEventPublisher.declare(broker);
  const kept = await startRecorder(node, config, broker, nodes);
  const watch = new RecorderWatch(broker);
  await node.start(watch);
  const jobs = await startJobs(node, config, broker, nodes, kept?.store);
  kept?.recorder.watch(jobs.recorded);
  if (config.mode !== "serve") {
    const make = await workerMaker(
      node,
      config,
      program,
      broker,
      nodes,
      heartbeat,
      exchanges,
      jobs,
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
    caller = await startCaller(node, broker, nodes, config.calls, id, config.http.maxBodyBytes);
    const { createApp } = await import("../http/app.ts");
    const { Channels } = await import("../pubsub/channels.ts");
    const channels = new Channels({ broker, ...config.channels });
    await node.start(channels);
    const app = createApp({
      caller,
      channels,
      jobs,
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

/** What a node asks of its worker, whichever is its present one. */
type RunningWorker = Pick<Worker, "status" | "served">;

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

/** @throws StartupError naming each that cannot be declared. */
async function declareExchanges(broker: Broker, specs: readonly ExchangeSpec[]): Promise<void> {
  try {
    await declareConfigured(broker, specs);
  } catch (error) {
    if (!(error instanceof DeclarationError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
}

function queueSources(nodes: NodesChannel, roster: RosterKeeper): QueueSources {
  return {
    tasks: () => nodes.list(),
    consumers: () => nodes.consumedQueues(),
    loads: () =>
      roster.list().flatMap(({ state, load }) => state === "alive" ? load?.consumers ?? [] : []),
  };
}

async function openBroker(
  node: Node,
  config: BrokerConfig,
  id: string,
  signal?: AbortSignal,
): Promise<Broker> {
  const broker = config.kind === "embedded"
    ? await embeddedBroker(config.dataDir)
    : await amqpBroker(config, id);
  node.add({ start: (abort) => broker.start(abort), stop: () => broker.stop() });
  broker.watch((state) => {
    if (state.kind === "away") log.warn("The broker is away: {reason}", { reason: state.reason });
    if (state.kind !== "connected") return;
    if (state.blocked === undefined) log.info("The broker is connected");
    else log.warn("The broker takes no messages: {reason}", { reason: state.blocked });
  });
  if (config.kind === "embedded") {
    await broker.start(signal);
    return broker;
  }
  const waiting = setTimeout(
    () => log.info("Waiting for RabbitMQ, up to {ms} ms", { ms: config.connectTimeoutMs }),
    WAITING_AFTER_MS,
  );
  const patience = AbortSignal.timeout(config.connectTimeoutMs);
  try {
    await broker.start(signal === undefined ? patience : AbortSignal.any([patience, signal]));
  } finally {
    clearTimeout(waiting);
  }
  return broker;
}

async function embeddedBroker(dataDir: string): Promise<Broker> {
  const { openEmbeddedBroker } = await import("../broker/embedded/embedded_broker.ts");
  return openEmbeddedBroker({ dataDir });
}

async function amqpBroker({ url, tls }: AmqpBrokerConfig, name: string): Promise<Broker> {
  const { createAmqpBroker } = await import("../broker/amqp/amqp_broker.ts");
  return createAmqpBroker({ url, name, ...(tls === undefined ? {} : { tls }) });
}

function nodesChannel(
  broker: Broker,
  node: string,
  further: Pick<NodesChannelOptions, "settleMs" | "schedules"> = {},
): NodesChannel {
  return new NodesChannel({ broker, node, ...further });
}

function rosterKeeper(
  broker: Broker,
  nodes: NodesChannel,
  node: string,
  exchange: string,
  publishes: boolean,
): RosterKeeper {
  return new RosterKeeper({ broker, nodes, node, exchange, publishes });
}

/** Starts a part that needs the exchange of beacons, which an operator can put right. */
async function startExplained(node: Node, part: Component): Promise<void> {
  try {
    await node.start(part);
  } catch (error) {
    if (!(error instanceof HeartbeatExchangeError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
}

/** Where records are kept, and who keeps them. */
interface Records {
  readonly store: Store;
  readonly recorder: Recorder;
}

/** Undefined where this node keeps no job records. */
async function startRecorder(
  node: Node,
  config: NodeConfig,
  broker: Broker,
  nodes: NodesChannel,
): Promise<Records | undefined> {
  if (config.recorder === undefined) return undefined;
  const { Recorder } = await import("../jobs/recorder/recorder.ts");
  const { RecorderTakenError } = await import("../jobs/recorder/claim.ts");
  const { store: place, keepResultsMs, keepDeadLettersMs } = config.recorder;
  try {
    const store = await makeStore(place);
    const recorder = new Recorder({
      broker,
      store,
      nodes,
      node: config.node.id,
      queueType: config.broker.kind === "amqp" ? config.broker.queueType : "classic",
      keepResultsMs,
      keepDeadLettersMs,
      refused: (reason) => node.giveUp(reason.message),
    });
    await node.start(recorder);
    return { store, recorder };
  } catch (error) {
    if (!(error instanceof RecorderTakenError || error instanceof StoreRefusedError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
}

async function makeStore(config: StoreConfig): Promise<Store> {
  switch (config.kind) {
    case "sqlite": {
      const { SqliteStore } = await import("../store/sqlite/sqlite_store.ts");
      return new SqliteStore({ dataDir: config.dataDir });
    }
    case "postgres": {
      const { PostgresStore } = await import("../store/postgres/postgres_store.ts");
      return new PostgresStore({ url: config.url });
    }
  }
}

async function startCaller(
  node: Node,
  broker: Broker,
  nodes: NodesChannel,
  { expiresMs, maxPending }: CallsConfig,
  id: string,
  maxReplyBytes = MAX_INFLATED_BYTES,
): Promise<BrokerCaller> {
  const caller = new BrokerCaller({
    broker,
    directory: nodes,
    node: id,
    version: VERSION,
    expiresMs,
    maxPending,
    // A result may be as large as an input, and some more for what is around it.
    maxReplyBytes: Math.max(maxReplyBytes, MAX_INFLATED_BYTES),
  });
  await node.start(caller);
  return caller;
}

/** What accepts jobs, for clients or for running tasks, and what follows them. */
async function startJobs(
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

/** Loads what a worker needs. @returns what makes one, with isolates of its own. */
async function workerMaker(
  node: Node,
  config: {
    readonly worker: WorkerConfig;
    readonly broker: BrokerConfig;
    readonly exchanges: readonly ExchangeConfig[];
    readonly node: { id: string };
  },
  program: ProgramFacts,
  broker: Broker,
  nodes: NodesChannel,
  heartbeat: NodeHeartbeat,
  exchanges: BrokerExchanges,
  jobs: JobServices,
): Promise<() => MadeWorker> {
  const { worker: settings, node: { id } } = config;
  const { createPool } = await import("../isolates/pool.ts");
  const { Worker } = await import("../worker/worker.ts");
  const { taskLogger } = await import("../worker/task_log.ts");
  const { PeriodicCallbacks } = await import("../worker/periodic.ts");
  const { ChannelAsks } = await import("../pubsub/channel_asks.ts");
  const slots = settings.isolates * settings.slots;
  const channels = new ChannelAsks(broker);
  await node.start(channels);
  return () => {
    const periodic = new PeriodicCallbacks(heartbeat.ticker);
    const pool = createPool({
      entryUrl: program.isolateEntry,
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
      slots,
      lookAhead: settings.lookAhead,
      groupAnswers: config.broker.kind === "amqp",
      maxBodyBytes: MAX_INFLATED_BYTES,
    });
    return { worker, pool };
  };
}

async function startWorker(node: Node, worker: Worker): Promise<Worker> {
  const { PoolStartError } = await import("../isolates/pool.ts");
  try {
    await node.start(worker);
  } catch (error) {
    if (!(error instanceof PoolStartError || error instanceof DeclarationError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
  return worker;
}

/** One whose tasks are loaded anew when whoever watches says so. */
async function startReloadingWorker(
  node: Node,
  options: ReloadingWorkerOptions,
  watching: Watching,
): Promise<RunningWorker> {
  const { ReloadingWorker } = await import("./reloading_worker.ts");
  const worker = new ReloadingWorker(options);
  await node.start(worker);
  watching.onWorker((change) => worker.reload(change));
  return worker;
}

/** Past so many threads that native code holds for each isolate, the worker is better started anew. */
const STUCK_PER_ISOLATE = 4;
/** On a busy machine killed threads take their time; what is stuck for so long stays stuck. */
const STUCK_PATIENCE_MS = 10_000;

async function listen(
  node: Node,
  { host, port }: { readonly host: string; readonly port: number },
  app: { fetch(request: Request, connection: object): Response | Promise<Response> },
  what: "front" | "health",
): Promise<void> {
  const { HttpServer, ListenError } = await import("../platform/http_server.ts");
  const server = new HttpServer({
    host: host.replace(/^\[(.*)\]$/, "$1"),
    port: node.portFor(what, port),
    handler: (request, connection) => app.fetch(request, connection),
  });
  try {
    await node.start(server);
  } catch (error) {
    if (!(error instanceof ListenError)) throw error;
    throw new StartupError(error.message, { cause: error });
  }
  node.keepPort(what, server.port);
  log.info("Listening on {url}", { url: server.url, what });
}
