/**
 * The methods of Celery's remote control and what a worker of ours answers: the one table. Each takes a
 * command's arguments and the panel of the worker, and gives the value of the answer.
 * https://docs.celeryq.dev/en/stable/userguide/workers.html#commands; the values are those of a Celery
 * 5.2 worker, captured.
 */
import { EXCHANGE_TYPES, problemOfExchange, problemOfQueue } from "../../reserved_names.ts";
import type { LogicalClock } from "../logical_clock.ts";
import { isNodeOfOurs } from "../node_name.ts";
import { pythonText } from "../python_repr.ts";
import type { ControlPanel, HeldRequest, RegisteredTask, RequestState } from "./panel.ts";

/** A JSON value; a Python float that is a whole number must not become an integer: see `hello`. */
export type Answer = unknown;

/** The method gives no answer at all. */
export const NO_ANSWER = Symbol("no answer");

/** A command's arguments are not what its method takes. */
export class ArgumentError extends Error {
  override readonly name = "TypeError";
}

/** What Celery raises as a `ValueError`. */
export class RefusedError extends Error {
  override readonly name = "ValueError";
}

export type Args = Readonly<Record<string, unknown>>;

export interface MethodContext {
  readonly panel: ControlPanel;
  readonly clock: LogicalClock;
  /** Seconds since this machine started, by which Celery's workers date revocations. */
  readonly machineUptime: () => number;
}

type Method = (args: Args, context: MethodContext) => Answer | Promise<Answer>;

/** Ids that one `hello` tells, the latest: some 1 MB. */
const MAX_TOLD_REVOKED = 10_000;
/** The same to a worker of ours, which learns of cancelled jobs from the recorder too. */
const MAX_TOLD_OURS = 1_000;
/** Requests of a kind that one answer lists. */
const MAX_LISTED = 1_000;
/** No task runs longer, and no timer waits longer. */
const MAX_LIMIT_S = 2_147_483;

const METHODS: Readonly<Record<string, Method>> = {
  ping: () => ok("pong"),
  clock: (_, { clock }) => ({ clock: clock.value }),
  conf: (_, { panel }) => panel.facts.conf,
  report: (_, { panel }) => ok(reportText(panel)),
  stats: (_, { panel, clock }) => statsOf(panel, clock),
  memsample: (_, { panel }) => `${(panel.figures.memoryBytes / 2 ** 20).toFixed(1)}MB`,

  registered: (args, { panel }) => registered(panel.tasks, textList(args, "taskinfoitems")),
  active: (_, { panel }) => infos(panel.held, "active"),
  reserved: (_, { panel }) => infos(panel.held, "reserved"),
  scheduled: async (_, { panel }) => await Promise.all(ofState(panel.held, "scheduled").map(entry)),
  revoked: (_, { panel }) => panel.revoked.map(({ id }) => id),
  query_task: async (args, { panel }) => {
    const ids = new Set(textList(args, "ids"));
    const found = panel.held.filter(({ id }) => ids.has(id)).slice(0, MAX_LISTED);
    return Object.fromEntries(
      await Promise.all(
        found.map(async (held) => [held.id, [celeryState(held), await held.info()]]),
      ),
    );
  },
  active_queues: (_, { panel }) => panel.queues.map(celeryQueue),

  revoke: (args, { panel }) => revoke(panel, textList(args, "task_id"), args.terminate === true),
  terminate: (args, { panel }) => revoke(panel, textList(args, "task_id"), true),
  time_limit: (args, { panel }) => {
    const task = text(args, "task_name");
    const hardMs = milliseconds(args, "hard");
    const softMs = milliseconds(args, "soft");
    const isKnown = panel.limit(task, {
      ...(hardMs === undefined ? {} : { hardMs }),
      ...(softMs === undefined ? {} : { softMs }),
    });
    return isKnown ? ok("time limits set successfully") : nok("unknown task");
  },
  rate_limit: (args, { panel }) => {
    const name = text(args, "task_name");
    if (!panel.tasks.some((task) => task.name === name)) return nok("unknown task");
    // What is not limited need not be freed.
    if (!args.rate_limit) return ok("rate limit disabled successfully");
    if (isZeroRate(args.rate_limit)) return ok("new rate limit set successfully");
    return nok("rate limits are not supported: give the task a queue and workers of its own");
  },

  add_consumer: async (args, { panel }) => {
    const queue = nameOf(args, "queue", problemOfQueue);
    // One that is called as its queue is what Celery makes for it.
    const exchange = optional(
      args,
      "exchange",
      (name) => name === queue ? undefined : problemOfExchange(name),
    );
    const exchangeType = exchangeTypeOf(args);
    const routingKey = optional(args, "routing_key");
    await panel.addQueue(queue, {
      ...(exchange === undefined ? {} : { exchange }),
      ...(exchangeType === undefined ? {} : { exchangeType }),
      ...(routingKey === undefined ? {} : { routingKey }),
    });
    return ok(`add consumer ${queue}`);
  },
  cancel_consumer: async (args, { panel }) => {
    const queue = text(args, "queue");
    await panel.cancelQueue(queue);
    return ok(`no longer consuming from ${queue}`);
  },

  pool_grow: (args, { panel }) => resized(panel, wholeNumber(args, "n", 1), "pool will grow"),
  pool_shrink: (args, { panel }) => resized(panel, -wholeNumber(args, "n", 1), "pool will shrink"),
  autoscale: () => {
    throw new RefusedError("Autoscale not enabled");
  },
  pool_restart: () => {
    throw new RefusedError("Pool restarts not enabled");
  },

  enable_events: async (_, { panel }) =>
    ok(await panel.tellEvents(true) ? "task events enabled" : "task events already enabled"),
  disable_events: async (_, { panel }) =>
    ok(await panel.tellEvents(false) ? "task events disabled" : "task events already disabled"),
  heartbeat: (_, { panel }) => {
    panel.beat();
    return null;
  },
  hello: (args, { panel, clock, machineUptime }) => {
    if (args.from_node === panel.name) return null;
    panel.revoke(revokedElsewhere(args.revoked), false);
    const most = isNodeOfOurs(args.from_node) ? MAX_TOLD_OURS : MAX_TOLD_REVOKED;
    return new HelloAnswer(panel.revoked.slice(-most), clock.forward(), machineUptime());
  },
  shutdown: (_, { panel }) => {
    if (panel.shutDown === undefined) {
      return nok("remote shutdown is not allowed: start the worker with --remote-shutdown");
    }
    panel.shutDown();
    return NO_ANSWER;
  },

  memdump: () => unsupported("memdump"),
  objgraph: () => unsupported("objgraph"),
  election: () => unsupported("election"),
};

/** The names that methods had before. */
const ALIASES: Readonly<Record<string, string>> = {
  dump_active: "active",
  dump_conf: "conf",
  dump_reserved: "reserved",
  dump_revoked: "revoked",
  dump_schedule: "scheduled",
  dump_tasks: "registered",
};

/**
 * What a worker answers to a command that is for it. Never rejects for what a command may be: an error
 * is an answer.
 */
export async function answer(method: string, args: Args, context: MethodContext): Promise<Answer> {
  const name = Object.hasOwn(ALIASES, method) ? ALIASES[method] ?? method : method;
  const run = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
  if (run === undefined) return nok(`KeyError(${pythonText(method)})`);
  try {
    return await run(args, context);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return nok(`${error.name}(${pythonText(error.message)})`);
  }
}

/** An answer as JSON text. */
export function answerJson(value: Answer): string {
  return value instanceof HelloAnswer ? value.toJsonText() : JSON.stringify(value ?? null);
}

/**
 * The answer to `hello` of somebody who is no worker.
 * @param uptimeS by which Celery's workers date revocations.
 */
export function helloJson(
  revoked: ControlPanel["revoked"],
  clock: number,
  uptimeS: number,
): string {
  return new HelloAnswer(revoked.slice(-MAX_TOLD_REVOKED), clock, uptimeS).toJsonText();
}

/**
 * What a Celery worker that starts learns from us: `{revoked: {id: [instant, id]}, clock}`. Its instants
 * must be floats, which JSON.stringify would write as integers where they are whole; Celery refuses
 * those.
 */
class HelloAnswer {
  readonly #revoked: ControlPanel["revoked"];
  readonly #clock: number;
  readonly #nowS: number;

  constructor(revoked: ControlPanel["revoked"], clock: number, nowS: number) {
    this.#revoked = revoked;
    this.#clock = clock;
    this.#nowS = nowS;
  }

  toJsonText(): string {
    const members = this.#revoked.map(({ id, ageMs }) => {
      const at = Math.max(0, this.#nowS - ageMs / 1_000).toFixed(6);
      const key = JSON.stringify(id);
      return `${key}:[${at},${key}]`;
    });
    return `{"revoked":{${members.join(",")}},"clock":${this.#clock}}`;
  }
}

function ok(value: string) {
  return { ok: value };
}

function nok(reason: string) {
  return { error: reason };
}

function unsupported(method: string) {
  return nok(`${method} is not supported by this worker`);
}

function revoke(panel: ControlPanel, ids: readonly string[], terminate: boolean) {
  const held = panel.revoke(ids, terminate);
  if (!terminate) return ok(`tasks ${ids.join(", ")} flagged as revoked`);
  return ok(`terminate: ${held.length === 0 ? "tasks unknown" : held.join(", ")}`);
}

function resized(panel: ControlPanel, isolates: number, done: string) {
  const problem = panel.resize(isolates);
  return problem === undefined ? ok(done) : nok(problem);
}

function ofState(held: readonly HeldRequest[], state: RequestState): readonly HeldRequest[] {
  return held.filter((one) => one.state === state).slice(0, MAX_LISTED);
}

async function infos(held: readonly HeldRequest[], state: RequestState) {
  return await Promise.all(ofState(held, state).map((one) => one.info()));
}

async function entry(held: HeldRequest) {
  const eta = held.dueAt === undefined ? null : new Date(held.dueAt).toISOString();
  return {
    eta: eta === null ? null : `${eta.slice(0, -1)}+00:00`,
    priority: held.priority,
    request: await held.info(),
  };
}

/** Celery counts what waits for its time among the reserved. */
function celeryState({ state }: HeldRequest): "active" | "reserved" {
  return state === "active" ? "active" : "reserved";
}

/** What `inspect registered` may show of a task, by Celery's names of its attributes. */
const TASK_ATTRIBUTES: Readonly<Record<string, (task: RegisteredTask) => unknown>> = {
  name: ({ name }) => name,
  queue: ({ queue }) => queue,
  time_limit: ({ timeoutMs }) => timeoutMs / 1_000,
  soft_time_limit: ({ softTimeoutMs }) => softTimeoutMs && softTimeoutMs / 1_000,
  max_retries: ({ retry }) => retry?.limit,
  isolation: ({ isolation }) => isolation,
  acks_late: () => "True",
  serializer: () => "json",
};

function registered(tasks: readonly RegisteredTask[], attributes: readonly string[]) {
  return tasks.map((task) => {
    const shown = attributes.flatMap((name) => {
      const value = Object.hasOwn(TASK_ATTRIBUTES, name)
        ? TASK_ATTRIBUTES[name]?.(task)
        : undefined;
      return value === undefined ? [] : [`${name}=${value}`];
    });
    return shown.length === 0 ? task.name : `${task.name} [${shown.join(" ")}]`;
  }).sort();
}

/** The members of a kombu queue's `as_dict`, with those that a consumer of ours knows. */
function celeryQueue(name: string) {
  return {
    name,
    exchange: {
      name,
      type: "direct",
      arguments: null,
      durable: true,
      passive: false,
      auto_delete: false,
      delivery_mode: null,
      no_declare: false,
    },
    routing_key: name,
    queue_arguments: null,
    binding_arguments: null,
    consumer_arguments: null,
    durable: true,
    exclusive: false,
    auto_delete: false,
    no_ack: false,
    alias: null,
    bindings: [],
    no_declare: null,
    expires: null,
    message_ttl: null,
    max_length: null,
    max_length_bytes: null,
    max_priority: null,
  };
}

function statsOf({ figures, facts }: ControlPanel, clock: LogicalClock) {
  return {
    total: figures.total,
    pid: figures.pid,
    clock: String(clock.value),
    uptime: Math.round(figures.uptimeMs / 1_000),
    pool: {
      implementation: "coxswain:isolates",
      "max-concurrency": figures.slots,
      processes: [figures.pid],
      isolates: figures.isolates,
      "max-tasks-per-child": figures.maxTasksPerIsolate ?? "N/A",
      "put-guarded-by-semaphore": false,
      timeouts: [0, 0],
    },
    broker: facts.broker,
    prefetch_count: figures.prefetch,
    rusage: figures.rusage,
  };
}

function reportText({ name, facts, figures }: ControlPanel): string {
  const settings = Object.entries(facts.conf).map(([key, value]) =>
    `${key}: ${JSON.stringify(value)}`
  );
  return [
    "",
    `software -> coxswain:${facts.version}`,
    `platform -> system:${process.platform} arch:${process.arch}`,
    `worker   -> ${name} pid:${figures.pid} isolates:${figures.isolates} slots:${figures.slots}`,
    "",
    ...settings,
    "",
  ].join("\n");
}

/** Of another worker's `hello`: `{id: [instant, id]}`. */
function revokedElsewhere(value: unknown): readonly string[] {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.keys(value).slice(-MAX_TOLD_REVOKED)
    : [];
}

/** "0" and "0/m" are how Celery's command line takes a limit away. */
function isZeroRate(rate: unknown): boolean {
  return typeof rate === "string" && /^0+(?:\.0*)?(?:\/[smh])?$/.test(rate);
}

function text(args: Args, name: string): string {
  const value = args[name];
  if (typeof value === "string" && value !== "") return value;
  throw new ArgumentError(`${name} must be a text, got ${shown(value)}`);
}

function nameOf(
  args: Args,
  name: string,
  problemOf: (value: unknown) => string | undefined,
): string {
  const value = text(args, name);
  const problem = problemOf(value);
  if (problem === undefined) return value;
  throw new RefusedError(`${name} ${pythonText(value)} ${problem}`);
}

function optional(
  args: Args,
  name: string,
  problemOf: (value: unknown) => string | undefined = () => undefined,
): string | undefined {
  const value = args[name] ?? undefined;
  return value === undefined || value === "" ? undefined : nameOf(args, name, problemOf);
}

function exchangeTypeOf(args: Args): typeof EXCHANGE_TYPES[number] | undefined {
  const given = optional(args, "exchange_type");
  const type = EXCHANGE_TYPES.find((known) => known === given);
  if (given === undefined || type !== undefined) return type;
  throw new RefusedError(`no exchange type ${pythonText(given)}: ${EXCHANGE_TYPES.join(", ")}`);
}

/** One text or an array of them, as Celery's clients send both. */
function textList(args: Args, name: string): readonly string[] {
  const value = args[name] ?? [];
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  return list.map((one) => {
    if (typeof one === "string") return one;
    throw new ArgumentError(`${name} must be texts, got ${shown(one)}`);
  });
}

function wholeNumber(args: Args, name: string, fallback: number): number {
  const value = args[name] ?? fallback;
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 1_024) {
    return value;
  }
  throw new ArgumentError(`${name} must be a whole number from 1 to 1024, got ${shown(value)}`);
}

function milliseconds(args: Args, name: string): number | undefined {
  const value = args[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value === "number" && value > 0 && value <= MAX_LIMIT_S) return value * 1_000;
  throw new ArgumentError(
    `${name} must be seconds, more than 0 and at most ${MAX_LIMIT_S}, got ${shown(value)}`,
  );
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 100);
}
