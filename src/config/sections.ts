/** From values to the sections of each command's configuration; adds what does not fit together. */
import { resolve } from "node:path";
import { amqpSection, brokerSection, isBrokerNamed } from "./broker_section.ts";
import type {
  BenchConfig,
  BrokerConfig,
  CallConfig,
  CallsConfig,
  CallSettings,
  CallTarget,
  ChannelsConfig,
  Config,
  DevicesCommandConfig,
  FrontTarget,
  HealthConfig,
  HeartbeatConfig,
  HttpConfig,
  ListConfig,
  LogConfig,
  LogLevel,
  Mode,
  NodeIdentity,
  PublishConfig,
  RecorderConfig,
  RecordsConfig,
  SubscribeConfig,
  WatchConfig,
  WorkerConfig,
} from "./config.ts";
import { isLoopback } from "../platform/loopback.ts";
import { devicesSection } from "./device_section.ts";
import type { Draft } from "./draft.ts";
import { flagOf } from "./setting.ts";
import { SETTINGS_FILE } from "./settings.ts";
import type { Surroundings } from "./surroundings.ts";
import { serverTls, trustedCa } from "./tls_section.ts";
import { frontTokens, type Tokens, tokenToSend } from "./token_section.ts";

const DEFAULT_FRONT = "http://127.0.0.1:8888";
/** An operator at a terminal does not wait as long as a service that starts beside its broker. */
const CALL_CONNECT_TIMEOUT_MS = 5_000;
/** Deliveries that a node may hold unsettled; AMQP's prefetch count is 16 bits wide. */
const MAX_SLOTS = 50_000;

/** Always builds one; where problems were added to the draft it is not to be used. */
export function buildConfig(mode: Mode, draft: Draft, surroundings: Surroundings): Config {
  switch (mode) {
    case "all": {
      const broker = brokerSection(draft, surroundings);
      const tokens = frontTokens(draft);
      const devices = devicesSection(draft);
      return {
        mode,
        node: nodeSection(draft, surroundings),
        ...watchSection(draft, surroundings),
        ...recorderSection(mode, draft, surroundings),
        heartbeat: heartbeatSection(draft),
        exchanges: draft.values.exchanges ?? [],
        routes: draft.values.routes ?? [],
        schedules: draft.values.schedules ?? [],
        log: logSection(draft, "info", tokens, broker),
        broker,
        http: httpSection(draft, tokens),
        calls: callsSection(draft),
        channels: channelsSection(draft),
        ...(devices === undefined ? {} : { devices }),
        worker: workerSection(draft, surroundings),
      };
    }
    case "serve": {
      const broker = amqpSection(draft);
      const tokens = frontTokens(draft);
      const devices = devicesSection(draft);
      return {
        mode,
        node: nodeSection(draft, surroundings),
        ...watchSection(draft, surroundings),
        ...recorderSection(mode, draft, surroundings),
        heartbeat: heartbeatSection(draft),
        exchanges: draft.values.exchanges ?? [],
        routes: draft.values.routes ?? [],
        schedules: draft.values.schedules ?? [],
        log: logSection(draft, "info", tokens, broker),
        broker,
        http: httpSection(draft, tokens),
        calls: callsSection(draft),
        channels: channelsSection(draft),
        ...(devices === undefined ? {} : { devices }),
      };
    }
    case "work": {
      const broker = amqpSection(draft);
      const health = healthSection(draft);
      return {
        mode,
        node: nodeSection(draft, surroundings),
        ...watchSection(draft, surroundings),
        ...recorderSection(mode, draft, surroundings),
        heartbeat: heartbeatSection(draft),
        exchanges: draft.values.exchanges ?? [],
        routes: draft.values.routes ?? [],
        schedules: draft.values.schedules ?? [],
        log: logSection(draft, "info", {}, broker),
        broker,
        worker: workerSection(draft, surroundings),
        ...(health === undefined ? {} : { health }),
      };
    }
    case "call":
      return callConfig(draft, surroundings);
    case "tasks":
    case "nodes":
    case "queues":
      return listConfig(mode, draft, surroundings);
    case "devices":
      return devicesConfig(draft, surroundings);
    case "publish":
      return publishConfig(draft, surroundings);
    case "subscribe":
      return subscribeConfig(draft, surroundings);
    case "job":
    case "dead-letters":
    case "schedules":
      return recordsConfig(mode, draft);
    case "bench":
      return benchConfig(draft);
  }
}

function httpSection(draft: Draft, tokens: Tokens): HttpConfig {
  const { values } = draft;
  if (!isLoopback(values.host) && tokens.token === undefined && !values.insecure) {
    draft.refuse(
      ["host", "token", "tokenFile"],
      `--host ${values.host} lets other machines in: give a --token, or --insecure if that is wanted`,
    );
  }
  const tls = serverTls(draft);
  return {
    host: bare(values.host),
    port: values.port,
    ...(tls === undefined ? {} : { tls }),
    ...tokens,
    insecure: values.insecure,
    maxBodyBytes: values.maxBody,
    exposeErrors: values.exposeErrors,
  };
}

function callsSection({ values }: Draft): CallsConfig {
  return { expiresMs: values.callExpires, maxPending: values.maxPending };
}

function channelsSection({ values }: Draft): ChannelsConfig {
  return {
    maxSubscribers: values.maxSubscribers,
    maxBacklog: values.subscriberBacklog,
    replay: {
      maxMessages: values.replayMessages,
      maxBytes: values.replayBytes,
      maxAgeMs: values.replayAge,
    },
  };
}

/** Fronts keep records unless they are told not to, workers only if they are told so. */
function recorderSection(
  mode: "all" | "serve" | "work",
  { values, given }: Draft,
  { cwd }: Surroundings,
): { readonly recorder?: RecorderConfig } {
  const isWanted = given.has("recorder") ? values.recorder : mode !== "work";
  if (!isWanted) return {};
  return {
    recorder: {
      store: values.store === undefined
        ? { kind: "sqlite", dataDir: resolve(cwd, values.data) }
        : { kind: "postgres", url: values.store },
      keepResultsMs: values.keepResults,
      keepDeadLettersMs: values.keepDeadLetters,
      keepDevicesMs: values.keepDevices,
    },
  };
}

function workerSection(draft: Draft, { processors }: Surroundings): WorkerConfig {
  const { values } = draft;
  const isolates = values.isolates ?? processors;
  if (isolates * values.slots > MAX_SLOTS) {
    draft.refuse(
      ["isolates", "slots"],
      `${isolates} isolates with ${values.slots} slots each: ` +
        `at most ${MAX_SLOTS} slots in all are possible`,
    );
  }
  return {
    taskPaths: values.tasks ?? [],
    ...(values.queues === undefined ? {} : { queues: [...new Set(values.queues)] }),
    isolates,
    slots: values.slots,
    lookAhead: values.lookAhead,
    ...(values.maxTasksPerIsolate === undefined
      ? {}
      : { maxTasksPerIsolate: values.maxTasksPerIsolate }),
    ...(values.maxMemory === undefined ? {} : { maxMemoryBytes: values.maxMemory }),
    demo: values.demo,
    tellsEvents: values.taskEvents,
    allowsRemoteShutdown: values.remoteShutdown,
  };
}

function healthSection(draft: Draft): HealthConfig | undefined {
  const { healthHost, healthPort, insecure } = draft.values;
  if (healthPort === undefined) return undefined;
  if (!isLoopback(healthHost) && !insecure) {
    draft.refuse(
      ["healthHost"],
      `--health-host ${healthHost} lets other machines in: give --insecure if that is wanted`,
    );
  }
  const tls = serverTls(draft);
  return { host: bare(healthHost), port: healthPort, ...(tls === undefined ? {} : { tls }) };
}

function nodeSection({ values }: Draft, { hostname, randomEnd }: Surroundings): NodeIdentity {
  const host = hostname.replace(/[^A-Za-z0-9._-]/g, "-").slice(0, 80) || "node";
  return { id: values.nodeId ?? `${host}-${randomEnd}`, graceMs: values.grace };
}

function heartbeatSection({ values }: Draft): HeartbeatConfig {
  return {
    logEveryMs: values.heartbeatInterval,
    broadcastEveryMs: values.heartbeatBroadcast,
    exchange: values.heartbeatExchange,
  };
}

function watchSection(
  { values }: Draft,
  { cwd }: Surroundings,
): { readonly watch?: WatchConfig } {
  if (!values.watch) return {};
  return { watch: { settingsFile: resolve(cwd, values.config ?? SETTINGS_FILE) } };
}

function logSection(
  { values }: Draft,
  fallback: LogLevel,
  tokens: Tokens,
  broker?: BrokerConfig,
): LogConfig {
  return {
    level: values.logLevel ?? fallback,
    format: values.logFormat,
    secrets: [
      tokens.token,
      tokens.readToken,
      ...passwordOf(broker?.kind === "amqp" ? broker.url : undefined),
      ...passwordOf(values.store),
    ]
      .filter((secret) => secret !== undefined && secret !== "" && secret !== "guest")
      .map(String),
  };
}

/** The password in a URL, as it is and as it is written there. */
function passwordOf(url: string | undefined): string[] {
  if (url === undefined || !URL.canParse(url)) return [];
  const written = new URL(url).password;
  try {
    return [written, decodeURIComponent(written)];
  } catch (error) {
    // A "%" that encodes nothing.
    if (error instanceof URIError) return [written];
    throw error;
  }
}

function callConfig(draft: Draft, surroundings: Surroundings): CallConfig {
  const { values } = draft;
  const tokens = tokenToSend(draft);
  const target = callTarget(draft, tokens);
  const broker = target.kind === "broker" ? target.broker : undefined;
  return {
    mode: "call",
    node: nodeSection(draft, surroundings),
    target,
    calls: callsSection(draft),
    routes: values.routes ?? [],
    options: callSettings(draft),
    json: values.json,
    log: logSection(draft, "warning", tokens, broker),
  };
}

function listConfig(
  mode: ListConfig["mode"],
  draft: Draft,
  surroundings: Surroundings,
): ListConfig {
  const tokens = tokenToSend(draft);
  const target = callTarget(draft, tokens);
  const broker = target.kind === "broker" ? target.broker : undefined;
  return {
    mode,
    node: nodeSection(draft, surroundings),
    target,
    heartbeatExchange: draft.values.heartbeatExchange,
    json: draft.values.json,
    log: logSection(draft, "warning", tokens, broker),
  };
}

const DEVICE_STATES = ["online", "offline", "all"] as const;

function devicesConfig(draft: Draft, surroundings: Surroundings): DevicesCommandConfig {
  const { state: [state = "online", ...more] = [], limit, cursor, reply, json } = draft.values;
  const known = DEVICE_STATES.find((one) => one === state);
  if (known === undefined || more.length > 0) {
    draft.refuse(["state"], `--state is one of ${DEVICE_STATES.join(", ")}`);
  }
  const tokens = tokenToSend(draft);
  const target = callTarget(draft, tokens);
  const broker = target.kind === "broker" ? target.broker : undefined;
  return {
    mode: "devices",
    node: nodeSection(draft, surroundings),
    target,
    filter: { state: known ?? "online", limit, ...(cursor === undefined ? {} : { cursor }) },
    ...(reply === undefined ? {} : { replyMs: reply }),
    json,
    log: logSection(draft, "warning", tokens, broker),
  };
}

function publishConfig(draft: Draft, surroundings: Surroundings): PublishConfig {
  const { values, given } = draft;
  const tokens = tokenToSend(draft);
  const target = callTarget(draft, tokens);
  const broker = target.kind === "broker" ? target.broker : undefined;
  for (const key of ["key", "messageHeader", "type", "persistent", "noWait"] as const) {
    if (!given.has(key) || values.exchange !== undefined) continue;
    draft.refuse(["exchange", key], `${flagOf(key)} has a meaning with --exchange alone`);
  }
  return {
    mode: "publish",
    node: nodeSection(draft, surroundings),
    target,
    ...(values.exchange === undefined ? {} : { exchange: values.exchange }),
    options: {
      key: values.key ?? "",
      headers: Object.fromEntries(values.messageHeader ?? []),
      isPersistent: values.persistent,
      isAwaited: !values.noWait,
      ...(values.type === undefined ? {} : { type: values.type }),
    },
    json: values.json,
    log: logSection(draft, "warning", tokens, broker),
  };
}

function recordsConfig(mode: RecordsConfig["mode"], draft: Draft): RecordsConfig {
  const { values } = draft;
  const { delay, eta, retries, unique, idempotencyKey, wait, state, task, limit, cursor } = values;
  const tokens = tokenToSend(draft);
  if (delay !== undefined && eta !== undefined) {
    draft.refuse(["delay", "eta"], "--delay and --eta: give one of the two");
  }
  return {
    mode,
    target: frontTarget(draft, tokens),
    options: {
      ...callSettings(draft),
      ...(delay === undefined ? {} : { delayMs: delay }),
      ...(eta === undefined ? {} : { eta }),
      ...(retries === undefined ? {} : { retries }),
      ...(unique === undefined ? {} : { unique }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
    },
    ...(wait === undefined ? {} : { waitMs: wait }),
    filter: {
      states: state ?? [],
      ...(task === undefined ? {} : { task }),
      limit,
      ...(cursor === undefined ? {} : { cursor }),
      every: values.every,
    },
    json: values.json,
    log: logSection(draft, "warning", tokens),
  };
}

/** What a request may take where nothing is said. */
const BENCH_TIMEOUT_MS = 3_000;

function benchConfig(draft: Draft): BenchConfig {
  const { values } = draft;
  const tokens = tokenToSend(draft);
  return {
    mode: "bench",
    target: frontTarget(draft, tokens),
    requests: values.requests,
    concurrency: values.concurrency,
    timeoutMs: values.timeout ?? BENCH_TIMEOUT_MS,
    isJob: values.jobs,
    json: values.json,
    log: logSection(draft, "warning", tokens),
  };
}

function subscribeConfig(draft: Draft, surroundings: Surroundings): SubscribeConfig {
  const { values } = draft;
  const tokens = tokenToSend(draft);
  const target = callTarget(draft, tokens);
  const broker = target.kind === "broker" ? target.broker : undefined;
  if (broker !== undefined && values.after !== undefined) {
    draft.refuse(["after"], "--after needs a front: RabbitMQ keeps nothing of what was published");
  }
  return {
    mode: "subscribe",
    node: nodeSection(draft, surroundings),
    target,
    ...(values.count === undefined ? {} : { count: values.count }),
    ...(values.after === undefined ? {} : { after: values.after }),
    json: values.json,
    log: logSection(draft, "warning", tokens, broker),
  };
}

/** A front that a flag names goes before a broker that a variable or the file names. */
function callTarget(draft: Draft, tokens: Tokens): CallTarget {
  if (!isBrokerNamed(draft)) return frontTarget(draft, tokens);
  const isFlag = (key: Parameters<typeof draft.given.get>[0]) =>
    draft.given.get(key)?.origin.kind === "flag";
  const brokerByFlag = (["amqpUrl", "mqHost", "mqPort", "mqUser", "mqPassword", "mqVhost"] as const)
    .some(isFlag);
  if (isFlag("url") && brokerByFlag) {
    draft.refuse(["url", "amqpUrl"], "--url and a broker: give one place to ask");
  }
  return isFlag("url")
    ? frontTarget(draft, tokens)
    : { kind: "broker", broker: amqpSection(draft, CALL_CONNECT_TIMEOUT_MS) };
}

function frontTarget(draft: Draft, { token }: Tokens): FrontTarget {
  const url = (draft.values.url ?? DEFAULT_FRONT).replace(/\/+$/, "");
  const ca = trustedCa(draft, url);
  return {
    kind: "front",
    url,
    ...(token === undefined ? {} : { token }),
    ...(ca === undefined ? {} : { ca }),
  };
}

function callSettings({ values }: Draft): CallSettings {
  return {
    headers: Object.fromEntries(values.header ?? []),
    ...(values.queue === undefined ? {} : { queue: values.queue }),
    ...(values.priority === undefined ? {} : { priority: values.priority }),
    ...(values.expires === undefined ? {} : { expiresMs: values.expires }),
    ...(values.timeout === undefined ? {} : { timeoutMs: values.timeout }),
  };
}

/** Without an IPv6 address's brackets, as sockets want it. */
function bare(host: string): string {
  return host.replace(/^\[|\]$/g, "");
}
