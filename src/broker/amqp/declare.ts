/**
 * Declarations in AMQP's methods, each on a channel that a refusal closes: one step that either
 * succeeds or throws what the broker said.
 */
import type { AMQPChannel } from "@cloudamqp/amqp-client";
import type { BindingSpec, ExchangeSpec, QueueSpec, QueueStatus } from "../broker.ts";
import { DeclarationError } from "../errors.ts";
import { brokerReply, REPLY } from "./failure.ts";

/** A queue's arguments on the wire (https://www.rabbitmq.com/docs/queues#optional-arguments). */
const ARGUMENTS = {
  maxPriority: { wire: "x-max-priority", lost: "priorities are not told apart as asked" },
  deadLetterExchange: {
    wire: "x-dead-letter-exchange",
    lost: "rejected and expired messages do not go where they should",
  },
  deadLetterRoutingKey: {
    wire: "x-dead-letter-routing-key",
    lost: "rejected and expired messages do not go where they should",
  },
  messageTtlMs: { wire: "x-message-ttl", lost: "messages do not expire as asked" },
  maxLength: { wire: "x-max-length", lost: "its length is not limited as asked" },
} as const;

/** What is lost by a difference in what the broker names in its refusal. */
const LOST: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.values(ARGUMENTS).map(({ wire, lost }) => [wire, lost])),
  "x-queue-type": "it is not replicated as asked",
  durable: "it outlives the broker's restart, or not, other than asked",
};

export async function declareExchange(
  channel: AMQPChannel,
  { name, type, durable = true, autoDelete = false }: ExchangeSpec,
): Promise<void> {
  await channel.exchangeDeclare(name, type, { durable, autoDelete });
}

/** @throws what the broker said, 406 where the queue exists with other arguments. */
export async function declareQueue(channel: AMQPChannel, spec: QueueSpec): Promise<QueueStatus> {
  const { name, durable = true } = spec;
  return status(
    await channel.queueDeclare(
      name,
      { durable, autoDelete: false, exclusive: false },
      queueArguments(spec),
    ),
  );
}

/** @throws what the broker said, 404 where there is none. */
export async function lookAtQueue(channel: AMQPChannel, name: string): Promise<QueueStatus> {
  return status(await channel.queueDeclare(name, { passive: true }));
}

/** @throws what the broker said, 404 where there is none. */
export async function lookAtExchange(channel: AMQPChannel, name: string): Promise<void> {
  // The type is ignored where nothing is declared.
  await channel.exchangeDeclare(name, "direct", { passive: true });
}

export async function bind(channel: AMQPChannel, spec: BindingSpec): Promise<void> {
  const { exchange, queue, routingKey = "", arguments: args = {} } = spec;
  await channel.queueBind(queue, exchange, routingKey, args);
}

export async function unbind(channel: AMQPChannel, spec: BindingSpec): Promise<void> {
  const { exchange, queue, routingKey = "", arguments: args = {} } = spec;
  await channel.queueUnbind(queue, exchange, routingKey, args);
}

function status(
  { name, messageCount, consumerCount }: Awaited<ReturnType<AMQPChannel["queueDeclare"]>>,
): QueueStatus {
  return { name, messages: messageCount, consumers: consumerCount };
}

function queueArguments(spec: QueueSpec): Record<string, string | number> {
  const { type = "classic" } = spec;
  const given = Object.entries(ARGUMENTS).flatMap(([key, { wire }]) => {
    const value = spec[key as keyof typeof ARGUMENTS];
    return value === undefined ? [] : [[wire, value] as const];
  });
  // Unsaid for classic queues, so that those made by others with no arguments are the same.
  return { ...Object.fromEntries(given), ...(type === "classic" ? {} : { "x-queue-type": type }) };
}

/**
 * What is lost where a queue is used as it is, from the broker's refusal: "inequivalent arg
 * 'x-max-priority' for queue 'q' in vhost '/': received '5' but current is none".
 */
export function mismatchText(name: string, refusal: string): string {
  const [, difference = ""] = /inequivalent arg '([^']+)'/.exec(refusal) ?? [];
  const lost = LOST[difference] ?? "it may behave other than asked";
  return `Queue "${name}" exists with other arguments and is used as it is: ${lost} (${refusal})`;
}

/**
 * A spec that no broker could take; told here because the broker's own words would be worse.
 * @throws DeclarationError
 */
export function checkQueueSpec(spec: QueueSpec): void {
  const { name, type = "classic", maxPriority } = spec;
  const refuse = (why: string): never => {
    throw new DeclarationError(`Cannot declare queue "${name}": ${why}`);
  };
  checkName("queue", name);
  if (maxPriority !== undefined) {
    if (type === "quorum") refuse("a quorum queue knows no priorities");
    if (!Number.isInteger(maxPriority) || maxPriority < 1 || maxPriority > 255) {
      refuse(`maxPriority must be a whole number from 1 to 255, got ${maxPriority}`);
    }
  }
  for (const key of ["messageTtlMs", "maxLength"] as const) {
    const value = spec[key];
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= 0)) {
      refuse(`${key} must be a whole number from 0, got ${value}`);
    }
  }
}

/**
 * A name that the wire can carry. An empty one would mean the default exchange, or a queue that the
 * broker names.
 * @throws DeclarationError
 */
export function checkName(what: "exchange" | "queue", name: string): void {
  const bytes = new TextEncoder().encode(name).length;
  if (bytes < 1 || bytes > 255) {
    throw new DeclarationError(
      `Cannot use ${what} "${name.slice(0, 80)}": a name has 1 to 255 bytes, this one ${bytes}`,
    );
  }
}

/** Whether the broker has no queue or exchange of that name. */
export function isNotFound(error: unknown): boolean {
  return brokerReply(error)?.code === REPLY.notFound;
}

/** Whether what is there has other arguments. */
export function isMismatch(error: unknown): boolean {
  return brokerReply(error)?.code === REPLY.preconditionFailed;
}
