/** How a worker gives a message up for good: to the queue of dead letters, confirmed. */
import type { Broker, PublishOptions, PublishResult } from "../broker/broker.ts";
import { PublishRefusedError } from "../broker/errors.ts";
import type { Message } from "../broker/message.ts";
import { DEAD_LETTERS_QUEUE } from "../broker/topology.ts";

const OPTIONS: PublishOptions = { confirm: true, mandatory: true };

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
