/** What a consumer's author may say about it, and how that becomes a descriptor. */
import {
  EXCHANGE_TYPES,
  problemOfExchange,
  problemOfKey,
  problemOfName,
  problemOfQueue,
} from "../reserved_names.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import type { TaskDescriptor } from "./descriptor.ts";
import { DefinitionError } from "./errors.ts";
import { describeLimits, type TaskOptions } from "./options.ts";

/** How an exchange shares messages out: AMQP 0-9-1, section 3.1.3. */
export type ExchangeType = (typeof EXCHANGE_TYPES)[number];

/** Which messages of a headers exchange a queue wants. */
export type HeaderMatch = Readonly<Record<string, string | number | boolean>>;

/** Options of `consume`. */
export interface ConsumeOptions
  extends Pick<TaskOptions, "timeout" | "softTimeout" | "isolation" | "retry"> {
  /** The queue: durable, declared by each worker that has the consumer. */
  readonly queue: string;
  /** The exchange that the queue is bound to. Absent: what is sent to the queue by its name. */
  readonly exchange?: string;
  /**
   * Declares the exchange too, durable. Absent: it must be there, from `exchanges` in coxswain.json for
   * one.
   */
  readonly type?: ExchangeType;
  /**
   * Routing keys, one binding each; for topic exchanges patterns with `*` (one word) and `#` (any
   * number of words). Default "#", which is all of a topic exchange; a direct exchange needs them.
   */
  readonly keys?: string | readonly string[];
  /** For headers exchanges: the headers to match, with `x-match` "all" (default) or "any". */
  readonly arguments?: HeaderMatch;
  /** Messages that one worker handles at once, 1 to 1000, as far as it has slots. Default 10. */
  readonly prefetch?: number;
  /**
   * A message is gone as soon as its handler starts: it runs once or, where the worker dies, never.
   * Nothing is tried again or dead-lettered. Default false.
   */
  readonly noAck?: boolean;
}

/** Plain data, as a task's descriptor is. `name` is for logs alone: nobody can call it. */
export interface ConsumerDescriptor extends TaskDescriptor {
  readonly exchange?: string;
  readonly type?: ExchangeType;
  /** Empty where none were given. */
  readonly keys: readonly string[];
  readonly arguments?: HeaderMatch;
  readonly prefetch: number;
  readonly noAck: boolean;
}

const DEFAULT_PREFETCH = 10;
const MAX_PREFETCH = 1_000;
/**
 * A message that pauses before its next attempt is not settled, and RabbitMQ closes the channel of a
 * consumer that holds one for 30 minutes (its consumer_timeout).
 */
export const MAX_PAUSE_MS = 20 * 60_000;

/** What `context.task` and the log call the consumer of a queue. */
export function consumerName(queue: string): string {
  return `consume ${queue}`;
}

/** @throws DefinitionError naming the queue, the option, its value and what was needed. */
export function describeConsumer(options: ConsumeOptions, file: string): ConsumerDescriptor {
  const { queue, exchange, type, prefetch = DEFAULT_PREFETCH, noAck = false } = options;
  const fail = (reason: string) =>
    new DefinitionError(`Cannot consume queue ${JSON.stringify(queue)} in ${file}: ${reason}`);
  const queueProblem = problemOfQueue(queue);
  if (queueProblem !== undefined) throw fail(`its name ${queueProblem}`);
  checkExchange(options, fail);
  const keys = readKeys(options, fail);
  if (!Number.isInteger(prefetch) || prefetch < 1 || prefetch > MAX_PREFETCH) {
    throw fail(`prefetch must be a whole number from 1 to ${MAX_PREFETCH}, got ${prefetch}`);
  }
  if (typeof noAck !== "boolean") throw fail(`noAck must be true or false, got ${String(noAck)}`);
  if (noAck && options.retry !== undefined) {
    throw fail("retry has no meaning with noAck: the message is gone when the handler fails");
  }
  const limits = describeLimits(options, fail);
  if (limits.retry !== undefined && limits.retry.capMs > MAX_PAUSE_MS) {
    throw fail(
      `retry.cap must be at most ${formatDuration(MAX_PAUSE_MS)}, ` +
        `got ${formatDuration(limits.retry.capMs)}: the broker would take the message back`,
    );
  }
  const match = readArguments(options, fail);
  return {
    name: consumerName(queue),
    file,
    queue,
    ...limits,
    ...(exchange === undefined ? {} : { exchange }),
    ...(type === undefined ? {} : { type }),
    keys,
    ...(match === undefined ? {} : { arguments: match }),
    prefetch,
    noAck,
  };
}

type Fail = (reason: string) => DefinitionError;

function checkExchange({ exchange, type }: ConsumeOptions, fail: Fail): void {
  if (exchange === undefined) {
    if (type !== undefined) throw fail("type has no meaning without exchange");
    return;
  }
  // One that is reserved may be read along with, and not be declared.
  const problem = type === undefined ? problemOfName(exchange) : problemOfExchange(exchange);
  if (problem !== undefined) {
    throw fail(`its exchange's name ${JSON.stringify(exchange)} ${problem}`);
  }
  if (type !== undefined && !EXCHANGE_TYPES.includes(type)) {
    throw fail(`type must be one of ${EXCHANGE_TYPES.join(", ")}, got ${JSON.stringify(type)}`);
  }
}

function readKeys({ exchange, type, keys }: ConsumeOptions, fail: Fail): readonly string[] {
  if (keys === undefined) {
    if (type === "direct") {
      throw fail("keys are needed: a direct exchange has no key that means all");
    }
    return [];
  }
  if (exchange === undefined) throw fail("keys have no meaning without exchange");
  const list: readonly unknown[] = typeof keys === "string" ? [keys] : keys;
  if (!Array.isArray(list) || list.length === 0) {
    throw fail("keys must be a text or a list of texts that is not empty");
  }
  return [
    ...new Set(list.map((key: unknown) => {
      const problem = problemOfKey(key);
      if (problem !== undefined || typeof key !== "string") {
        throw fail(`the key ${JSON.stringify(key)} ${problem}`);
      }
      return key;
    })),
  ];
}

function readArguments(
  { exchange, type, arguments: match }: ConsumeOptions,
  fail: Fail,
): HeaderMatch | undefined {
  if (match === undefined) return undefined;
  if (exchange === undefined || (type !== undefined && type !== "headers")) {
    throw fail("arguments have a meaning for headers exchanges alone");
  }
  if (typeof match !== "object" || match === null || Array.isArray(match)) {
    throw fail("arguments must be an object of headers to match");
  }
  for (const [name, value] of Object.entries(match)) {
    const problem = problemOfName(name);
    if (problem !== undefined) throw fail(`the argument's name ${JSON.stringify(name)} ${problem}`);
    if (!["string", "number", "boolean"].includes(typeof value)) {
      throw fail(`argument ${JSON.stringify(name)} must be a text, a number, true or false`);
    }
  }
  const xMatch = match["x-match"];
  if (xMatch !== undefined && xMatch !== "all" && xMatch !== "any") {
    throw fail(`x-match must be "all" or "any", got ${JSON.stringify(xMatch)}`);
  }
  return { ...match };
}
