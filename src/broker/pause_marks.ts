/**
 * Which queues are paused: the broker remembers. A paused queue has a queue of its own beside it with
 * one message in it, so a worker that starts or reconnects later finds it paused, whoever asked for it
 * and however long ago, and whether a node has lived since or not.
 *
 * It is the message that counts: connections declare again what they once declared, so an empty mark
 * may come back after its queue was resumed.
 */
import { createHash } from "node:crypto";
import type { Broker } from "./broker.ts";

const PREFIX = "cox.paused.";
const MAX_NAME_BYTES = 255;

/** @throws BrokerAwayError */
export async function isMarkedPaused(broker: Broker, queue: string): Promise<boolean> {
  const mark = await broker.inspectQueue(markOf(queue));
  return mark !== undefined && mark.messages > 0;
}

/** Resolves when the broker has the mark for good. Idempotent. @throws BrokerAwayError */
export async function markPaused(broker: Broker, queue: string): Promise<void> {
  const name = markOf(queue);
  await broker.declareQueue({ name, maxLength: 1 });
  await broker.publish({
    exchange: "",
    routingKey: name,
    properties: { contentType: "text/plain", persistent: true },
    body: new TextEncoder().encode(queue),
  }, { confirm: true });
}

/** Takes the mark away. Idempotent. @throws BrokerAwayError */
export async function unmarkPaused(broker: Broker, queue: string): Promise<void> {
  await broker.deleteQueue(markOf(queue));
}

function markOf(queue: string): string {
  const name = PREFIX + queue;
  if (new TextEncoder().encode(name).length <= MAX_NAME_BYTES) return name;
  return `${PREFIX}sha256.${createHash("sha256").update(queue).digest("hex")}`;
}
