/** A queue's arguments, checked, with their defaults; and what is lost where two of them differ. */
import type { ExchangeSpec, QueueSpec } from "../broker.ts";
import { DeclarationError } from "../errors.ts";
import { isTooLong } from "./message_check.ts";

export interface QueueShape {
  readonly durable: boolean;
  readonly maxPriority?: number;
  readonly deadLetterExchange?: string;
  readonly deadLetterRoutingKey?: string;
  readonly messageTtlMs?: number;
  readonly maxLength?: number;
}

export const QUORUM_MISMATCH =
  "quorum was asked for, but the embedded broker is one process: the queue is not replicated";

/** @throws DeclarationError when an argument makes no sense. */
export function shapeOf(spec: QueueSpec): QueueShape {
  const { name, durable = true, type, maxPriority, messageTtlMs, maxLength } = spec;
  checkName(name, `Cannot declare queue "${shorten(name)}"`);
  const refuse = (what: string): never => {
    throw new DeclarationError(`Cannot declare queue "${name}": ${what}`);
  };
  if (maxPriority !== undefined && !isWhole(maxPriority, 1, 255)) {
    refuse(`maxPriority must be a whole number from 1 to 255, got ${maxPriority}`);
  }
  if (maxPriority !== undefined && type === "quorum") {
    refuse("a quorum queue knows no priorities; leave maxPriority out or use a classic queue");
  }
  if (messageTtlMs !== undefined && !isWhole(messageTtlMs, 0, Number.MAX_SAFE_INTEGER)) {
    refuse(`messageTtlMs must be a whole number of milliseconds, got ${messageTtlMs}`);
  }
  if (maxLength !== undefined && !isWhole(maxLength, 0, Number.MAX_SAFE_INTEGER)) {
    refuse(`maxLength must be a whole number of messages, got ${maxLength}`);
  }
  const { deadLetterExchange, deadLetterRoutingKey } = spec;
  return {
    durable,
    ...(maxPriority === undefined ? {} : { maxPriority }),
    ...(deadLetterExchange === undefined ? {} : { deadLetterExchange }),
    ...(deadLetterRoutingKey === undefined ? {} : { deadLetterRoutingKey }),
    ...(messageTtlMs === undefined ? {} : { messageTtlMs }),
    ...(maxLength === undefined ? {} : { maxLength }),
  };
}

const losses: Readonly<Record<keyof QueueShape, string>> = {
  durable: "whether it outlives a restart",
  maxPriority: "which messages overtake which",
  deadLetterExchange: "where given up messages go",
  deadLetterRoutingKey: "where given up messages go",
  messageTtlMs: "how long messages wait",
  maxLength: "how many messages it keeps",
};

/** What is lost where a queue of one shape is used as if it had another; undefined: nothing. */
export function mismatchOf(found: QueueShape, wanted: QueueShape): string | undefined {
  const names = Object.keys(losses) as (keyof QueueShape)[];
  const differences = names
    .filter((name) => found[name] !== wanted[name])
    .map((name) =>
      `${name} is ${found[name] ?? "unset"}, not ${wanted[name] ?? "unset"} (${losses[name]})`
    );
  return differences.length === 0 ? undefined : differences.join("; ");
}

/** @throws DeclarationError when the name is not allowed. */
export function checkExchangeName(spec: ExchangeSpec): void {
  checkName(spec.name, `Cannot declare exchange "${shorten(spec.name)}"`);
}

function checkName(name: string, action: string): void {
  if (name === "") throw new DeclarationError(`${action}: it needs a name`);
  if (name.startsWith("amq.")) {
    throw new DeclarationError(`${action}: names that start with "amq." belong to brokers`);
  }
  if (isTooLong(name)) throw new DeclarationError(`${action}: the name has more than 255 bytes`);
}

function shorten(name: string): string {
  return name.length > 60 ? `${name.slice(0, 60)}…` : name;
}

function isWhole(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}
