/**
 * The configuration as the parts of the program get it: one frozen section each, parsed and checked.
 * Where the values come from is load.ts; which settings exist is settings.ts.
 */
import type { KeyPair } from "../platform/certificate.ts";
import type { ScheduleDescriptor } from "../tasks/schedule.ts";

/** The commands that run a node. */
export type NodeMode = "all" | "serve" | "work";

/** What a front listens with. */
export interface HttpConfig {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Who sends it may do everything. Never blank. */
  readonly token?: string;
  /** Who sends it may read. Never blank. */
  readonly readToken?: string;
  /** The operator accepts that whoever reaches `host` may come in. */
  readonly insecure: boolean;
  readonly maxBodyBytes: number;
  /** Error answers carry the stack of a failed task. */
  readonly exposeErrors: boolean;
  /** Absent: plain HTTP. */
  readonly tls?: KeyPair;
}

export interface CallsConfig {
  /** How long a call may wait for a worker unless its caller says so. */
  readonly expiresMs: number;
  /** Most calls that may wait for their ending at once. */
  readonly maxPending: number;
}

/** Tasks whose names fit the pattern go to this queue. */
export interface RouteConfig {
  /** With `*` for any characters and `?` for one. */
  readonly pattern: string;
  readonly queue: string;
}

/** Channels of a front. */
export interface ChannelsConfig {
  readonly maxSubscribers: number;
  /** Most messages that a subscriber may lag behind. */
  readonly maxBacklog: number;
  /** What is kept for those that come back. */
  readonly replay: {
    readonly maxMessages: number;
    readonly maxBytes: number;
    readonly maxAgeMs: number;
  };
}

/** The gateway of a front. */
export interface DevicesConfig {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Somebody chose the port: where it is taken, that is a mistake. */
  readonly isPortGiven: boolean;
  /** Who may call itself what; absent: devices are called by their addresses. */
  readonly tokens?: readonly { readonly id: string; readonly token: string }[];
  readonly tls?: KeyPair;
  readonly maxLineBytes: number;
  readonly maxConnections: number;
  /** Of one remote address. */
  readonly maxPerAddress: number;
  /** How long nothing may come of a device; 0: for ever. */
  readonly idleMs: number;
}

/** PEM texts, read from the files that were named. */
export interface TlsConfig {
  /** Certificate authorities to trust instead of the system's. */
  readonly ca?: string;
  /** Our own certificate; always with `key`. */
  readonly cert?: string;
  readonly key?: string;
}

export type QueueType = "classic" | "quorum";

export interface EmbeddedBrokerConfig {
  readonly kind: "embedded";
  /** Absolute path. */
  readonly dataDir: string;
}

export interface AmqpBrokerConfig {
  readonly kind: "amqp";
  /** `amqp://` or `amqps://`, with the password in it: only ever shown by `redactText`. */
  readonly url: string;
  readonly tls?: TlsConfig;
  readonly queueType: QueueType;
  /** Queues that are declared as Celery does it: durable, without arguments. */
  readonly plainQueues: readonly string[];
  /** How long the start waits for the broker. */
  readonly connectTimeoutMs: number;
}

export type BrokerConfig = EmbeddedBrokerConfig | AmqpBrokerConfig;

/** An exchange of the application's, declared when a node starts. */
export interface ExchangeConfig {
  readonly name: string;
  readonly type: "fanout" | "topic" | "direct" | "headers";
  readonly durable: boolean;
}

export interface WorkerConfig {
  /** Absolute paths of files and folders. */
  readonly taskPaths: readonly string[];
  /** Absent: every queue that one of its tasks names. */
  readonly queues?: readonly string[];
  readonly isolates: number;
  /** Attempts that may run at once in one isolate. */
  readonly slots: number;
  /** Deliveries held beyond the slots; "auto" grows while tasks are short. */
  readonly lookAhead: number | "auto";
  /** Absent: an isolate is never replaced because of its age. */
  readonly maxTasksPerIsolate?: number;
  /** What the process, and each process isolate, may hold. Absent: no limit. */
  readonly maxMemoryBytes?: number;
  /** The demo tasks are served too. */
  readonly demo: boolean;
  /** Events are told on Celery's exchange from the start. */
  readonly tellsEvents: boolean;
  /** Celery's remote control may end the node. */
  readonly allowsRemoteShutdown: boolean;
}

/** The small HTTP server of a node that has no front. */
export interface HealthConfig {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** Absent: plain HTTP. */
  readonly tls?: KeyPair;
}

export interface NodeIdentity {
  /** Letters, digits and `._-`, at most 100. */
  readonly id: string;
  /** How long what runs may go on after the first SIGTERM. */
  readonly graceMs: number;
}

/** The node's ticker and its beacons. */
export interface HeartbeatConfig {
  /** A beat is logged so often; 0: never. */
  readonly logEveryMs: number;
  /** A beacon is broadcast so often; 0: none is. */
  readonly broadcastEveryMs: number;
  /** Fanout exchange for beacons. */
  readonly exchange: string;
}

export type LogLevel = "trace" | "debug" | "info" | "warning" | "error" | "fatal";

export interface LogConfig {
  readonly level: LogLevel;
  /** "auto": pretty on a terminal, JSON lines elsewhere. */
  readonly format: "pretty" | "json" | "auto";
  /** What must never be written: tokens, passwords. */
  readonly secrets: readonly string[];
}

/** What a node looks at while its tasks are developed, besides their files. */
export interface WatchConfig {
  /** Absolute; it need not exist. */
  readonly settingsFile: string;
}

interface NodeBase {
  /** Absent: this node keeps no job records. */
  readonly recorder?: RecorderConfig;
  /** To be announced while this node is there. */
  readonly schedules: readonly ScheduleDescriptor[];
  /** Absent: nothing is watched. */
  readonly watch?: WatchConfig;
  readonly node: NodeIdentity;
  readonly heartbeat: HeartbeatConfig;
  readonly exchanges: readonly ExchangeConfig[];
  /** The first that fits a task wins. */
  readonly routes: readonly RouteConfig[];
  readonly log: LogConfig;
}

/** Where job records are kept. */
export type StoreConfig =
  /** Absolute path of a folder. */
  | { readonly kind: "sqlite"; readonly dataDir: string }
  /** With the password in it: never shown. */
  | { readonly kind: "postgres"; readonly url: string };

export interface RecorderConfig {
  readonly store: StoreConfig;
  readonly keepResultsMs: number;
  readonly keepDeadLettersMs: number;
  readonly keepDevicesMs: number;
}

/** Front and worker in one process. */
export interface AllConfig extends NodeBase {
  readonly mode: "all";
  readonly broker: BrokerConfig;
  readonly http: HttpConfig;
  readonly calls: CallsConfig;
  readonly channels: ChannelsConfig;
  /** Absent: no device can connect. */
  readonly devices?: DevicesConfig;
  readonly worker: WorkerConfig;
}

/** A front: no task runs in it. */
export interface ServeConfig extends NodeBase {
  readonly mode: "serve";
  readonly broker: AmqpBrokerConfig;
  readonly http: HttpConfig;
  readonly calls: CallsConfig;
  readonly channels: ChannelsConfig;
  /** Absent: no device can connect. */
  readonly devices?: DevicesConfig;
}

/** A worker: nothing of the web part is in it, but for its health port where one is asked for. */
export interface WorkConfig extends NodeBase {
  readonly mode: "work";
  readonly broker: AmqpBrokerConfig;
  readonly worker: WorkerConfig;
  readonly health?: HealthConfig;
}

export type NodeConfig = AllConfig | ServeConfig | WorkConfig;

/** A front to ask. */
export interface FrontTarget {
  readonly kind: "front";
  /** Without a slash at its end. */
  readonly url: string;
  readonly token?: string;
  /** Certificate authorities (PEM text) to trust for `https`, instead of the system's. */
  readonly ca?: string;
}

/** Where the operator's commands go. */
export type CallTarget =
  | FrontTarget
  | { readonly kind: "broker"; readonly broker: AmqpBrokerConfig };

/** How one call is sent; the same fields as the caller's options. */
export interface CallSettings {
  /** Default: where the task is announced. */
  readonly queue?: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** 0 to 10. */
  readonly priority?: number;
  readonly expiresMs?: number;
  readonly timeoutMs?: number;
}

/** `app call`, without its task and input, which are arguments. */
export interface CallConfig {
  readonly mode: "call";
  readonly node: NodeIdentity;
  readonly target: CallTarget;
  readonly calls: CallsConfig;
  readonly routes: readonly RouteConfig[];
  readonly options: CallSettings;
  /** The result exactly as it came, for programs. */
  readonly json: boolean;
  readonly log: LogConfig;
}

/** `app tasks` and `app nodes`. */
export interface ListConfig {
  readonly mode: "tasks" | "nodes" | "queues";
  readonly node: NodeIdentity;
  readonly target: CallTarget;
  /** Fanout exchange for beacons, where a broker is asked. */
  readonly heartbeatExchange: string;
  readonly json: boolean;
  readonly log: LogConfig;
}

/** `app devices`, without the words that say what to do. */
export interface DevicesCommandConfig {
  readonly mode: "devices";
  readonly node: NodeIdentity;
  readonly target: CallTarget;
  /** What is listed. */
  readonly filter: {
    readonly state: "online" | "offline" | "all";
    readonly limit: number;
    readonly cursor?: string;
  };
  /** How long a device that is sent a line has for its answer; absent: it is not waited for. */
  readonly replyMs?: number;
  readonly json: boolean;
  readonly log: LogConfig;
}

/** `app publish`, without its message, which is an argument. */
export interface PublishConfig {
  readonly mode: "publish";
  readonly node: NodeIdentity;
  readonly target: CallTarget;
  /** Absent: the message goes to a channel. */
  readonly exchange?: string;
  readonly options: {
    /** Routing key. */
    readonly key: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly isPersistent: boolean;
    /** Done when the broker has taken it. */
    readonly isAwaited: boolean;
    /** The exchange is declared first. */
    readonly type?: ExchangeConfig["type"];
  };
  readonly json: boolean;
  readonly log: LogConfig;
}

/** `app job`, `app dead-letters` and `app schedules`, without the words that say what to do. */
export interface RecordsConfig {
  readonly mode: "job" | "dead-letters" | "schedules";
  readonly target: FrontTarget;
  /** Of a job that is submitted. */
  readonly options: CallSettings & {
    readonly delayMs?: number;
    /** As it was given; the front reads it. */
    readonly eta?: string;
    readonly retries?: number;
    readonly unique?: string;
    readonly idempotencyKey?: string;
  };
  /** How long to wait for a job's end. */
  readonly waitMs?: number;
  /** What is listed, or retried or purged together. */
  readonly filter: {
    readonly states: readonly string[];
    readonly task?: string;
    readonly limit: number;
    readonly cursor?: string;
    readonly every: boolean;
  };
  readonly json: boolean;
  readonly log: LogConfig;
}

/** `app subscribe`, without its pattern, which is an argument. */
export interface SubscribeConfig {
  readonly mode: "subscribe";
  readonly node: NodeIdentity;
  readonly target: CallTarget;
  /** Ends after so many messages; absent: not by itself. */
  readonly count?: number;
  /** Id of the message that was seen last. */
  readonly after?: string;
  /** Each message exactly as it came, for programs. */
  readonly json: boolean;
  readonly log: LogConfig;
}

/** `app bench`, without the task and its input, which are arguments. */
export interface BenchConfig {
  readonly mode: "bench";
  readonly target: FrontTarget;
  readonly requests: number;
  /** Requests in flight. */
  readonly concurrency: number;
  /** For each request, of a job to its end. */
  readonly timeoutMs: number;
  /** Jobs instead of calls. */
  readonly isJob: boolean;
  readonly json: boolean;
  readonly log: LogConfig;
}

export type Config =
  | BenchConfig
  | NodeConfig
  | CallConfig
  | ListConfig
  | DevicesCommandConfig
  | PublishConfig
  | SubscribeConfig
  | RecordsConfig;
/** The commands that settings belong to. */
export type Mode = Config["mode"];
