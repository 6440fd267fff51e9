/** `consume`, as task files call it. */
import type { Envelope, Properties } from "./consumed_message.ts";
import { readConsumed } from "./consumed_message.ts";
import { type ConsumeOptions, describeConsumer } from "./consumer.ts";
import { definingFile } from "./defining_file.ts";
import { DefinitionError } from "./errors.ts";
import { registry } from "./registry.ts";

/**
 * Handles one message. What it returns is not looked at; where it throws, the message is tried again
 * by the consumer's retry policy, and dead-lettered after the last attempt or at once by
 * `throw new Reject(reason)`. `context` is there as in a task: `id`, `attempt`, `log`, `signal`.
 */
export type MessageHandler<Body> = (
  body: Body,
  envelope: Envelope,
  properties: Properties,
) => unknown;

/** A defined consumer. Calling it runs the handler here and now, for tests. */
export interface ConsumerDefinition<Body> {
  (body: Body, envelope: Envelope, properties: Properties): unknown;
  readonly queue: string;
}

/**
 * Consumes a queue: each message that reaches it is handled in an isolate, with the limits of a task,
 * by one of the workers that have this consumer. Only at the top of a task file.
 *
 * The body is what its content type says: JSON parsed, `text/*` a text, `application/octet-stream` a
 * Uint8Array; else JSON where it parses, else text where it is UTF-8, else a Uint8Array. What it is
 * cannot be known beforehand: check it before you trust it.
 *
 * @param options the queue, the exchange that it is bound to, limits, retries.
 * @throws DefinitionError when an option cannot be used, or a consumer has the queue already.
 *
 * @example
 * consume({ queue: "invoices", exchange: "shop", type: "topic", keys: "order.*.paid" },
 *   async (order: Order, { routingKey }) => { await writeInvoice(order); });
 */
export function consume<Body = unknown>(
  options: ConsumeOptions,
  handler: MessageHandler<Body>,
): ConsumerDefinition<Body> {
  const file = definingFile(consume);
  if (typeof options !== "object" || options === null) {
    throw new DefinitionError(`Cannot consume in ${file}: the options must be an object`);
  }
  if (typeof handler !== "function") {
    throw new DefinitionError(
      `Cannot consume queue ${JSON.stringify(options.queue)} in ${file}: ` +
        "its last argument must be a function",
    );
  }
  // The one place where a body, which anybody may have sent, gets the type that the author gave it.
  const run = handler as (...args: unknown[]) => unknown;
  registry.addConsumer({
    descriptor: describeConsumer(options, file),
    input: undefined,
    read: readConsumed,
    run,
  });
  return Object.assign(
    (body: Body, envelope: Envelope, properties: Properties) => handler(body, envelope, properties),
    { queue: options.queue },
  );
}
