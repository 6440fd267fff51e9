/** `context`: what a running task knows of itself and can do besides returning. */
import {
  type ChannelSubscription,
  type SubscribeOptions,
  subscribeTo,
} from "./channel_subscription.ts";
import { currentAttempt, type LogLevel, type RunningAttempt } from "./running_attempt.ts";
import type { Settings } from "./registry.ts";

/** The request that this attempt answers. */
export interface RequestInfo {
  /** Headers that the caller sent along, lower-case names. Read-only. */
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Writes to the worker's log, beside the task's name and the call's id.
 * @param message a fixed text; `{name}` stands for the field of that name.
 * @param fields what JSON carries; the rest is written as text.
 */
export type LogFunction = (message: string, fields?: Readonly<Record<string, unknown>>) => void;

export type TaskLog = Readonly<Record<LogLevel, LogFunction>>;

export interface PubSub {
  /**
   * Publishes to a channel. Resolves when the broker has taken the message, whether anybody listens or
   * not.
   * @param channel words parted by dots, such as "orders.new".
   * @param message what JSON carries.
   * @throws Error when the broker is away or refuses it, or JSON cannot carry the message.
   */
  publish(channel: string, message: unknown): Promise<void>;
  /**
   * Follows channels: what is published from now on, until the loop is left, a signal aborts or the
   * attempt ends. What the task is too slow for is forgotten, and told to `onGap`.
   * @param pattern a channel, or words with `*` for exactly one and `#` for none or more.
   * @typeParam T what is known to be sent on them; nobody checks it.
   * @throws Error named "BadName", or "BrokerAwayError" while the broker is away; the loop throws it.
   *
   * @example
   * for await (const { message } of context.pubsub.subscribe<Order>("orders.*")) {
   *   if (message.state === "paid") return message;
   * }
   */
  subscribe<T = unknown>(pattern: string, options?: SubscribeOptions): ChannelSubscription<T>;
}

/** Each property throws when no task is running (at the top of a file, or in a set-up). */
export interface Context {
  /** What `setup` made; kept as long as the isolate lives, shared by its tasks. */
  readonly settings: Settings;
  /**
   * Headers that travel back beside the result (in an HTTP response: its headers): fresh for each
   * attempt, to be written to. Names and values as HTTP has them.
   */
  readonly headers: Record<string, string>;
  readonly request: RequestInfo;
  /**
   * Aborts at the soft limit, when the call is cancelled, and when the worker stops and its grace time
   * is over. Its reason is an `Interruption`. After a cancel or a stop, the isolate is killed a little
   * later.
   */
  readonly signal: AbortSignal;
  /** Id of the call or job; the same in each attempt. */
  readonly id: string;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** The broker has handed this request out before: it may have run already. */
  readonly redelivered: boolean;
  /** This task's name. */
  readonly task: string;
  /** Id of the node that runs it. */
  readonly node: string;
  readonly log: TaskLog;
  /**
   * Tells how far the attempt is, for whoever watches the job. At most four reports a second leave the
   * worker; the latest always does.
   * @param fraction 0 to 1.
   * @param message what is being done, at most 1,024 characters.
   * @throws Error when the fraction is no number from 0 to 1.
   */
  progress(fraction: number, message?: string): void;
  readonly pubsub: PubSub;
}

function running(property: keyof Context): RunningAttempt {
  const attempt = currentAttempt();
  if (attempt) return attempt;
  throw new Error(
    `Cannot use context.${property}: no task is running here. ` +
      `It is there inside a task's function and all that it calls or awaits.`,
  );
}

function logAt(level: LogLevel): LogFunction {
  return (message, fields = {}) => {
    const { services, facts } = running("log");
    services.log(level, message, fields, facts);
  };
}

const taskLog: TaskLog = {
  debug: logAt("debug"),
  info: logAt("info"),
  warn: logAt("warn"),
  error: logAt("error"),
};

const pubsub: PubSub = {
  // Asynchronous, so that a message which JSON cannot carry rejects like every other failure.
  async publish(channel, message) {
    const { services, facts } = running("pubsub");
    const fail = (reason: string) =>
      new Error(`Cannot publish on channel ${JSON.stringify(channel)}: ${reason}`);
    if (typeof channel !== "string" || channel === "") {
      throw fail("its name must be a text that is not empty");
    }
    const json: string | undefined = JSON.stringify(message ?? null);
    if (json === undefined) throw fail("the message must be what JSON carries");
    await services.ask("pubsub.publish", { channel }, json, facts);
  },
  subscribe: (pattern, options) => subscribeTo(running("pubsub"), pattern, options),
};

/** The running task's context. It follows the task through timers, promises and callbacks. */
export const context: Context = {
  get settings() {
    return running("settings").services.settings;
  },
  get headers() {
    return running("headers").headers;
  },
  get request() {
    return { headers: running("request").facts.headers };
  },
  get signal() {
    return running("signal").signal;
  },
  get id() {
    return running("id").facts.id;
  },
  get attempt() {
    return running("attempt").facts.attempt;
  },
  get redelivered() {
    return running("redelivered").facts.redelivered;
  },
  get task() {
    return running("task").facts.task;
  },
  get node() {
    return running("node").services.node;
  },
  get log() {
    return taskLog;
  },
  progress(fraction, message) {
    running("progress").report(fraction, message);
  },
  get pubsub() {
    return pubsub;
  },
};
