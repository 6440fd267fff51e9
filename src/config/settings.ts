/**
 * The one table of settings: flags, help, variables and the keys of coxswain.json all come from it.
 * A key `amqpUrl` is the flag `--amqp-url` and the variable `COX_AMQP_URL`.
 */
import { delimiter } from "node:path";
import { EXCHANGE_TYPES } from "../reserved_names.ts";
import { exchangesReader } from "./exchanges_setting.ts";
import { schedulesReader } from "./schedules_setting.ts";
import type {
  ListSetting,
  Setting,
  StructureSetting,
  SwitchSetting,
  ValueOf,
  ValueSetting,
} from "./setting.ts";
import {
  beatsOrOff,
  choice,
  duration,
  exchangeName,
  matching,
  messageHeader,
  port,
  queueName,
  size,
  taskHeader,
  text,
  urlOf,
  wholeNumber,
  wordOr,
} from "./value.ts";

type Row<S> = Omit<S, "kind">;

function one<T>(row: Omit<Row<ValueSetting<T, undefined>>, "fallback">): ValueSetting<T, undefined>;
function one<T, D extends T>(row: Row<ValueSetting<T, D>>): ValueSetting<T, T>;
function one<T>(
  row: Omit<Row<ValueSetting<T, T>>, "fallback"> & { fallback?: T },
): ValueSetting<T, T | undefined> {
  return { fallback: undefined, ...row, kind: "value" };
}

const many = <T>(row: Row<ListSetting<T>>): ListSetting<T> => ({ ...row, kind: "list" });
const structure = <T>(row: Row<StructureSetting<T>>): StructureSetting<T> => ({
  ...row,
  kind: "structure",
});
const onOff = (row: Row<SwitchSetting>): SwitchSetting => ({ ...row, kind: "switch" });

const NODES = ["all", "serve", "work"] as const;
const FRONTS = ["all", "serve"] as const;
const WORKERS = ["all", "work"] as const;
const LISTS = ["tasks", "nodes", "queues"] as const;
const CALLERS = ["call", "publish", "subscribe", ...LISTS] as const;
/** Commands that only a front can answer, which keeps the records. */
const RECORDS = ["job", "dead-letters", "schedules"] as const;
/** Commands that ask a front alone. */
const FRONT_ASKERS = [...RECORDS, "bench"] as const;
const ASKERS = [...CALLERS, ...FRONT_ASKERS] as const;
const BROKER = [...NODES, ...CALLERS] as const;
const EVERYWHERE = [...NODES, ...ASKERS] as const;

const host = matching("HOST", /^(?:[^\s/@?#[\]]+|\[[0-9a-f:.]+\])$/i, "a host name or an address");
const file = text("FILE", "the path of a file");
/** Visible ASCII, for it travels in a header (RFC 9110, section 11.6.2). */
export const token = matching(
  "TOKEN",
  /^[\x21-\x7e]+$/,
  "a token that is not blank, of visible ASCII characters without spaces",
);
/** Read from the working folder where no other is named. */
export const SETTINGS_FILE = "coxswain.json";

const DAY_MS = 86_400_000;
const MAX_KEPT_MS = 36_500 * DAY_MS;

export const SETTINGS = {
  url: one({
    group: "Call",
    modes: ASKERS,
    reader: urlOf(["http:", "https:"], "http://127.0.0.1:8888"),
    defaultText: "http://127.0.0.1:8888",
    help: "front to ask",
    helpIn: { call: "front to send the call to" },
  }),
  requests: one({
    group: "Call",
    modes: ["bench"],
    sources: "flag",
    reader: wholeNumber({ min: 1, max: 10_000_000 }),
    fallback: 1_000,
    help: "requests in all",
  }),
  concurrency: one({
    group: "Call",
    modes: ["bench"],
    sources: "flag",
    reader: wholeNumber({ min: 1, max: 20_000 }),
    fallback: 10,
    help: "requests in flight at once, each on a connection of its own",
  }),
  jobs: onOff({
    group: "Call",
    modes: ["bench"],
    sources: "flag",
    fallback: false,
    help: "submit jobs and follow each to its end, instead of calls",
  }),
  timeout: one({
    group: "Call",
    modes: ["call", "job", "bench"],
    sources: "flag",
    reader: duration({ minMs: 1 }),
    defaultText: "the task's own limit, which also caps it",
    help: "how long the task may run before it is stopped",
    helpIn: { bench: "how long a request may take, or a job to its end [3s]" },
  }),
  expires: one({
    group: "Call",
    modes: ["call", "job"],
    sources: "flag",
    reader: duration({ minMs: 1 }),
    defaultText: { call: "the front's, 30s", job: "for ever" },
    help: "how long it may wait for a worker",
  }),
  priority: one({
    group: "Call",
    modes: ["call", "job"],
    sources: "flag",
    reader: wholeNumber({ min: 0, max: 10 }),
    defaultText: "0",
    help: "0 to 10; higher ones are taken first",
  }),
  queue: one({
    group: "Call",
    modes: ["call", "job"],
    sources: "flag",
    reader: queueName,
    defaultText: "where the task is announced",
    help: "queue to send it to",
  }),
  header: many({
    group: "Call",
    modes: ["call", "job"],
    sources: "flag",
    reader: taskHeader,
    separator: "\n",
    help: "header for the task, such as x-user:7; may be repeated",
  }),
  delay: one({
    group: "Call",
    modes: ["job"],
    sources: "flag",
    reader: duration({ minMs: 1 }),
    help: "start the job no sooner than so long from now",
  }),
  eta: one({
    group: "Call",
    modes: ["job"],
    sources: "flag",
    reader: text("INSTANT", "an instant such as 2030-01-31T03:00:00Z"),
    help: "start the job no sooner than at this instant",
  }),
  retries: one({
    group: "Call",
    modes: ["job"],
    sources: "flag",
    reader: wholeNumber({ min: 0, max: 1_000 }),
    defaultText: "the task's own, 3",
    help: "attempts after the first",
  }),
  unique: one({
    group: "Call",
    modes: ["job"],
    sources: "flag",
    reader: text("KEY"),
    help: "while a job with this key is unfinished there is no second one",
  }),
  idempotencyKey: one({
    group: "Call",
    modes: ["job"],
    sources: "flag",
    reader: text("KEY"),
    help: "the same key with the same request is the same job, for 24 hours",
  }),
  wait: one({
    group: "Call",
    modes: ["job"],
    sources: "flag",
    reader: duration({ minMs: 1 }),
    defaultText: "not at all",
    help: "how long to wait for the job's end",
  }),
  state: many({
    group: "Call",
    modes: ["job"],
    sources: "flag",
    reader: text("STATE"),
    separator: ",",
    flagSeparator: ",",
    defaultText: "all",
    help: "list jobs in these states, such as queued,running",
  }),
  task: one({
    group: "Call",
    modes: ["job", "dead-letters"],
    sources: "flag",
    reader: text("TASK"),
    defaultText: "all",
    help: "only those of this task",
  }),
  limit: one({
    group: "Call",
    modes: ["job", "dead-letters"],
    sources: "flag",
    reader: wholeNumber({ min: 1, max: 1_000 }),
    fallback: 50,
    help: "list so many at most, the youngest first",
  }),
  cursor: one({
    group: "Call",
    modes: ["job", "dead-letters"],
    sources: "flag",
    reader: text("CURSOR"),
    help: "list those after the page that named it",
  }),
  every: onOff({
    group: "Call",
    modes: ["dead-letters"],
    sources: "flag",
    fallback: false,
    help: "retry or purge all of them, or all of one --task",
  }),
  exchange: one({
    group: "Call",
    modes: ["publish"],
    sources: "flag",
    reader: text("NAME", "the name of an exchange that is not blank"),
    help: "exchange to publish to",
  }),
  key: one({
    group: "Call",
    modes: ["publish"],
    sources: "flag",
    reader: { metavar: "KEY", expected: "a routing key", read: (given: string) => given },
    defaultText: "none",
    help: "routing key",
  }),
  type: one({
    group: "Call",
    modes: ["publish"],
    sources: "flag",
    reader: choice("TYPE", EXCHANGE_TYPES),
    help: "declare the exchange first",
  }),
  messageHeader: many({
    group: "Call",
    modes: ["publish"],
    sources: "flag",
    reader: messageHeader,
    separator: "\n",
    help: "header of the message, such as color:red; may be repeated",
  }),
  persistent: onOff({
    group: "Call",
    modes: ["publish"],
    sources: "flag",
    fallback: true,
    help: "do not have it kept on disk",
  }),
  noWait: onOff({
    group: "Call",
    modes: ["publish"],
    sources: "flag",
    fallback: false,
    help: "do not wait until the broker has taken it",
  }),
  count: one({
    group: "Call",
    modes: ["subscribe"],
    sources: "flag",
    reader: wholeNumber({ min: 1 }),
    defaultText: "until Ctrl-C",
    help: "end after so many messages",
  }),
  after: one({
    group: "Call",
    modes: ["subscribe"],
    sources: "flag",
    reader: text("ID", "the id of a message"),
    defaultText: "from now on",
    help: "begin after the message of this id, as far as the front keeps what followed",
  }),
  json: onOff({
    group: "Call",
    modes: ASKERS,
    sources: "flag",
    fallback: false,
    help: "print JSON on one line, exactly as it came, for programs",
  }),

  host: one({
    group: "Front",
    modes: FRONTS,
    reader: host,
    fallback: "127.0.0.1",
    help: "address to listen on; another than loopback needs --token or --insecure",
  }),
  port: one({
    group: "Front",
    modes: FRONTS,
    reader: port({ min: 0 }),
    fallback: 8888,
    help: "port to listen on; 0 is any free one, printed at the start",
  }),
  token: one({
    group: "Front",
    modes: [...FRONTS, ...ASKERS],
    reader: token,
    isSecret: true,
    refusesBlank: true,
    help: "who sends it as a bearer token may do everything",
    helpIn: {
      call: "bearer token to send to the front",
      tasks: "bearer token to send to the front",
      nodes: "bearer token to send to the front",
      queues: "bearer token to send to the front",
      publish: "bearer token to send to the front",
      subscribe: "bearer token to send to the front",
      job: "bearer token to send to the front",
      "dead-letters": "bearer token to send to the front",
      schedules: "bearer token to send to the front",
      bench: "bearer token to send to the front",
    },
  }),
  tokenFile: one({
    group: "Front",
    modes: [...FRONTS, ...ASKERS],
    reader: file,
    isPath: true,
    refusesBlank: true,
    help: "file that holds the token",
  }),
  readToken: one({
    group: "Front",
    modes: FRONTS,
    reader: token,
    isSecret: true,
    refusesBlank: true,
    help: "who sends it as a bearer token may read, and change nothing",
  }),
  readTokenFile: one({
    group: "Front",
    modes: FRONTS,
    reader: file,
    isPath: true,
    refusesBlank: true,
    help: "file that holds the read token",
  }),
  insecure: onOff({
    group: "Front",
    modes: NODES,
    fallback: false,
    help: "listen beyond loopback without a token: whoever gets through may come in",
  }),
  maxBody: one({
    group: "Front",
    modes: FRONTS,
    // RabbitMQ takes messages of at most 16 MiB since 4.0 (its max_message_size).
    reader: size({ minBytes: 1_024, maxBytes: 15 * 2 ** 20 }),
    fallback: 12 * 2 ** 20,
    defaultText: "12MiB",
    help: "largest request body",
  }),
  exposeErrors: onOff({
    group: "Front",
    modes: FRONTS,
    fallback: false,
    help: "put the stack of a failed task into the answer",
  }),
  callExpires: one({
    group: "Front",
    modes: FRONTS,
    reader: duration({ minMs: 1 }),
    fallback: 30_000,
    defaultText: "30s",
    help: "how long a call may wait for a worker unless it says so itself",
  }),
  maxPending: one({
    group: "Front",
    modes: FRONTS,
    reader: wholeNumber({ min: 1, max: 1_000_000 }),
    fallback: 10_000,
    help: "most calls that may wait for their answer at once; more get 429",
  }),

  maxSubscribers: one({
    group: "Front",
    modes: FRONTS,
    reader: wholeNumber({ min: 1, max: 1_000_000 }),
    fallback: 10_000,
    help: "most subscribers of channels at once; more get 503",
  }),
  subscriberBacklog: one({
    group: "Front",
    modes: FRONTS,
    reader: wholeNumber({ min: 1, max: 1_000_000 }),
    fallback: 10_000,
    help: "most messages that a slow subscriber may lag behind; past them it is told of a gap",
  }),
  replayMessages: one({
    group: "Front",
    modes: FRONTS,
    reader: wholeNumber({ min: 0, max: 1_000_000 }),
    fallback: 10_000,
    help: "most channel messages that are kept for subscribers that come back",
  }),
  replayBytes: one({
    group: "Front",
    modes: FRONTS,
    reader: size({ minBytes: 0, maxBytes: 2 ** 30 }),
    fallback: 32 * 2 ** 20,
    defaultText: "32MiB",
    help: "most memory for them",
  }),
  replayAge: one({
    group: "Front",
    modes: FRONTS,
    reader: duration(),
    fallback: 5 * 60_000,
    defaultText: "5m",
    help: "how long they are kept",
  }),

  amqpUrl: one({
    group: "Broker",
    modes: BROKER,
    reader: urlOf(["amqp:", "amqps:"], "amqp://user:password@host:5672/vhost"),
    defaultText: { serve: "amqp://localhost:5672", work: "amqp://localhost:5672" },
    help: "RabbitMQ to use",
    helpIn: {
      all: "RabbitMQ to use instead of the broker inside the program",
      call: "send the call over this RabbitMQ, past any front",
      tasks: "ask the nodes on this RabbitMQ, past any front",
      nodes: "ask the nodes on this RabbitMQ, past any front",
      queues: "ask this RabbitMQ and its nodes, past any front",
      publish: "publish over this RabbitMQ, past any front",
      subscribe: "subscribe over this RabbitMQ, past any front",
    },
  }),
  mqHost: one({
    group: "Broker",
    modes: BROKER,
    reader: host,
    help: "host of RabbitMQ; the --mq-… flags together are another way to write --amqp-url",
  }),
  mqPort: one({
    group: "Broker",
    modes: BROKER,
    reader: port({ min: 1 }),
    help: "port of RabbitMQ",
  }),
  mqUser: one({
    group: "Broker",
    modes: BROKER,
    reader: text("USER"),
    help: "user of RabbitMQ",
  }),
  mqPassword: one({
    group: "Broker",
    modes: BROKER,
    reader: text("PASSWORD"),
    isSecret: true,
    help: "password of RabbitMQ; a variable keeps it out of the list of processes",
  }),
  mqVhost: one({
    group: "Broker",
    modes: BROKER,
    reader: text("VHOST"),
    help: "virtual host of RabbitMQ",
  }),
  amqpCa: one({
    group: "Broker",
    modes: BROKER,
    reader: file,
    isPath: true,
    help: "certificate authorities (PEM) to trust for amqps, instead of the system's",
  }),
  amqpCert: one({
    group: "Broker",
    modes: BROKER,
    reader: file,
    isPath: true,
    help: "own certificate (PEM) for amqps, with --amqp-key",
  }),
  amqpKey: one({
    group: "Broker",
    modes: BROKER,
    reader: file,
    isPath: true,
    help: "key (PEM) of --amqp-cert",
  }),
  queueType: one({
    group: "Broker",
    modes: NODES,
    reader: choice("TYPE", ["classic", "quorum"]),
    fallback: "classic" as const,
    help: "kind of queue to declare, the same for all nodes: classic knows priorities, quorum is " +
      "replicated",
  }),
  connectTimeout: one({
    group: "Broker",
    modes: BROKER,
    reader: duration({ minMs: 1 }),
    defaultText: {
      all: "30s",
      serve: "30s",
      work: "30s",
      call: "5s",
      tasks: "5s",
      nodes: "5s",
      queues: "5s",
      publish: "5s",
      subscribe: "5s",
    },
    help: "how long to wait for RabbitMQ before giving up",
  }),
  exchanges: structure({
    group: "Broker",
    modes: NODES,
    reader: exchangesReader,
    defaultText: "none",
    help: 'exchanges to declare at the start, such as {"orders":"topic"}; best kept in the file',
  }),
  data: one({
    group: "Broker",
    modes: NODES,
    reader: text("DIR", "the path of a folder"),
    isPath: true,
    fallback: "coxswain-data",
    defaultText: "./coxswain-data",
    help: "folder of the broker inside the program, and of job records in SQLite",
    helpIn: {
      serve: "folder of job records in SQLite",
      work: "folder of job records in SQLite, with --recorder",
    },
  }),

  store: one({
    group: "Jobs",
    modes: NODES,
    reader: urlOf(["postgres:", "postgresql:"], "postgres://user:password@host:5432/database"),
    isSecret: true,
    defaultText: "SQLite in the folder of --data",
    help: "PostgreSQL to keep job records in, which several nodes can share",
  }),
  recorder: onOff({
    group: "Jobs",
    modes: NODES,
    fallback: true,
    fallbackIn: { work: false },
    help: "keep no job records: another node of this broker does",
    helpIn: { work: "keep the records of jobs, as fronts do" },
  }),
  keepResults: one({
    group: "Jobs",
    modes: NODES,
    reader: duration({ minMs: 1_000, maxMs: MAX_KEPT_MS }),
    fallback: 7 * DAY_MS,
    defaultText: "7d",
    help: "how long the records of finished jobs are kept",
  }),
  keepDeadLetters: one({
    group: "Jobs",
    modes: NODES,
    reader: duration({ minMs: 1_000, maxMs: MAX_KEPT_MS }),
    fallback: 30 * DAY_MS,
    defaultText: "30d",
    help: "how long dead letters are kept",
  }),
  schedules: structure({
    group: "Jobs",
    modes: NODES,
    reader: schedulesReader,
    defaultText: "none",
    help: 'jobs to run by the clock, such as [{"task":"tidy","every":"1h"}]; best kept in the file',
  }),

  tasks: many({
    group: "Worker",
    modes: WORKERS,
    reader: text("PATH", "the path of a file or folder"),
    separator: delimiter,
    takesMany: true,
    isPath: true,
    help: "task files, and folders of them; takes several, may be repeated",
  }),
  queues: many({
    group: "Worker",
    modes: WORKERS,
    reader: queueName,
    separator: ",",
    flagSeparator: ",",
    defaultText: "all that the tasks name",
    help: "queues to serve, with commas",
  }),
  isolates: one({
    group: "Worker",
    modes: WORKERS,
    reader: wholeNumber({ min: 1, max: 1_024 }),
    defaultText: "the number of processors",
    help: "isolates that run tasks side by side",
  }),
  slots: one({
    group: "Worker",
    modes: WORKERS,
    reader: wholeNumber({ min: 1, max: 10_000 }),
    fallback: 1,
    help: "tasks at once in one isolate; more than 1 is for tasks that mostly wait",
  }),
  lookAhead: one({
    group: "Worker",
    modes: WORKERS,
    reader: wordOr("auto", wholeNumber({ min: 0, max: 10_000 })),
    fallback: "auto" as const,
    help: "messages to hold beyond the free slots; auto grows while tasks are short",
  }),
  maxTasksPerIsolate: one({
    group: "Worker",
    modes: WORKERS,
    reader: wholeNumber({ min: 1 }),
    defaultText: "never",
    help: "replace an isolate after so many tasks",
  }),
  maxMemory: one({
    group: "Worker",
    modes: WORKERS,
    // Whether the node fits into it shows when its first isolate is ready.
    reader: size({ minBytes: 16 * 2 ** 20, maxBytes: 2 ** 40 }),
    defaultText: "no limit",
    help: "memory of the process, such as 512M: past it the isolate that holds most is killed",
  }),
  demo: onOff({
    group: "Worker",
    modes: WORKERS,
    fallback: true,
    help: "leave out the demo tasks (math.add, sleep, echo, …)",
  }),
  // Off by default: a fixed port would keep a second worker on one machine from starting, and a
  // worker is to start nothing of the web that nobody asked for.
  healthPort: one({
    group: "Worker",
    modes: ["work"],
    reader: port({ min: 0 }),
    defaultText: "off",
    help: "port that answers /healthz and /readyz; 0 is any free one",
  }),
  healthHost: one({
    group: "Worker",
    modes: ["work"],
    reader: host,
    fallback: "127.0.0.1",
    help: "address of --health-port; another than loopback needs --insecure",
  }),

  nodeId: one({
    group: "Node",
    modes: NODES,
    reader: matching(
      "ID",
      /^[A-Za-z0-9._-]{1,100}$/,
      "1 to 100 letters, digits, dots, underscores and hyphens",
    ),
    defaultText: "the host's name and a random end",
    help: "name of this node, another than any node's alive",
  }),
  grace: one({
    group: "Node",
    modes: NODES,
    reader: duration(),
    fallback: 25_000,
    defaultText: "25s",
    help: "how long what runs may go on after the first SIGTERM or Ctrl-C",
  }),
  heartbeatInterval: one({
    group: "Node",
    modes: NODES,
    reader: beatsOrOff,
    fallback: 0,
    defaultText: "0, which is off",
    help: "log a beat so often, with what the node does; 0 turns it off",
  }),
  heartbeatBroadcast: one({
    group: "Node",
    modes: NODES,
    reader: beatsOrOff,
    fallback: 2_000,
    defaultText: "2s",
    help: "broadcast a beacon so often; 0 turns it off, and fronts cannot tell when this node dies",
  }),
  heartbeatExchange: one({
    group: "Node",
    modes: [...NODES, ...LISTS],
    reader: exchangeName,
    fallback: "Heartbeat",
    help: "fanout exchange for beacons, the same for all nodes",
  }),
  // Not in the file: a node that is deployed with it would stop what runs at any change.
  watch: onOff({
    group: "Node",
    modes: NODES,
    sources: "flag and variable",
    fallback: false,
    help: "while developing: load task files anew when they change, and start anew with changed " +
      "settings",
    helpIn: { serve: "while developing: start anew when the file of settings changes" },
  }),
  config: one({
    group: "Node",
    modes: EVERYWHERE,
    sources: "flag and variable",
    reader: file,
    isPath: true,
    defaultText: "./coxswain.json where there is one",
    help: "file of settings",
  }),

  logLevel: one({
    group: "Log",
    modes: EVERYWHERE,
    reader: choice("LEVEL", ["trace", "debug", "info", "warning", "error", "fatal"], {
      warn: "warning",
      critical: "fatal",
    }),
    defaultText: {
      all: "info",
      serve: "info",
      work: "info",
      call: "warning",
      tasks: "warning",
      nodes: "warning",
      queues: "warning",
      publish: "warning",
      subscribe: "warning",
      job: "warning",
      "dead-letters": "warning",
      schedules: "warning",
      bench: "warning",
    },
    help: "least level to log; logs go to stderr",
  }),
  logFormat: one({
    group: "Log",
    modes: EVERYWHERE,
    reader: choice("FORMAT", ["auto", "pretty", "json"]),
    fallback: "auto" as const,
    help: "auto is pretty on a terminal and JSON lines elsewhere",
  }),
} as const satisfies Readonly<Record<string, Setting>>;

export type SettingKey = keyof typeof SETTINGS;

/** Every setting's value, from wherever it was given, or its default. */
export type Values = { readonly [K in SettingKey]: ValueOf<typeof SETTINGS[K]> };

/** The keys in the table's order. */
export const SETTING_KEYS: readonly SettingKey[] = Object.keys(SETTINGS).filter(isSettingKey);

export function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(SETTINGS, key);
}

/** A setting's row, whatever its value. */
export function settingOf(key: SettingKey): Setting {
  return SETTINGS[key];
}
