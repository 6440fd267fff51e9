/** How a worker gives a message up for good: to the queue of dead letters, confirmed. */
import type { Broker, PublishOptions, PublishResult } from "../broker/broker.ts";
import { PublishRefusedError } from "../broker/errors.ts";
import type { Message, MessageHeaders } from "../broker/message.ts";
import { DEAD_LETTERS_QUEUE } from "../broker/topology.ts";
import { COX, JSON_TYPE } from "../calls/wire/names.ts";

const OPTIONS: PublishOptions = { confirm: true, mandatory: true };

/** What says which task it is, in words that any message can carry. */
const TELLING = ["id", "task", COX.kind] as const;

/**
 * A message without its properties, for what cannot be written as it came: strangers' bytes become
 * longer texts than AMQP has room for, or headers that leave none for the story. The body and what
 * says which task it is are kept.
 */
export function bareMessage({ properties, ...message }: Message): Message {
  const told = TELLING.map((name) => [name, properties.headers?.[name]] as const)
    .filter(([, value]) => typeof value === "string" && value.length <= MAX_TOLD_LENGTH);
  return {
    ...message,
    properties: {
      headers: Object.fromEntries(told) as MessageHeaders,
      ...(properties.contentType === JSON_TYPE ? { contentType: JSON_TYPE } : {}),
    },
  };
}

const MAX_TOLD_LENGTH = 1_000;

/**
 * Publishes a dead letter; resolves when the broker has it.
 * @param publish how, and with what patience.
 * @throws what `publish` throws, PublishRefusedError when the queue cannot be had.
 */
export async function bury(
  broker: Broker,
  letter: Message,
  publish: (letter: Message, options: PublishOptions) => Promise<PublishResult>,
): Promise<void> {
  if (await publish(letter, OPTIONS) !== "returned") return;
  // Somebody has deleted the queue since this worker started.
  await broker.declareQueue(DEAD_LETTERS_QUEUE);
  if (await publish(letter, OPTIONS) !== "returned") return;
  throw new PublishRefusedError(
    `Cannot publish to queue "${letter.routingKey}": there is no such queue`,
  );
}
