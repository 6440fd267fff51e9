/** Publishing on a channel, which is a topic of the exchange `cox.pubsub`. */
import type { Broker } from "../broker/broker.ts";
import { publishPatiently } from "../broker/publish_patiently.ts";
import type { MessageHeaders } from "../broker/message.ts";
import { PUBSUB_EXCHANGE } from "../broker/topology.ts";
import { systemClock } from "../lifecycle/clock.ts";
import { APP_ID } from "./channel_event.ts";
import { MessageIds } from "./message_id.ts";

export interface ChannelPayload {
  readonly contentType: string;
  readonly body: Uint8Array;
  /** For whoever consumes it from a queue; subscribers of the channel do not see them. */
  readonly headers?: MessageHeaders;
  /** Durable queues keep it on disk. Default false. */
  readonly isPersistent?: boolean;
}

export interface PublishOnOptions {
  /** How long a broker that is away is waited for, in milliseconds. Default 0. */
  readonly patienceMs?: number;
  /** Resolve when the broker has taken it, and not as soon as it is handed on. Default true. */
  readonly isAwaited?: boolean;
}

/** A connection keeps the order of what is published on it: so each has ids of its own. */
const makers = new WeakMap<Broker, MessageIds>();

/**
 * Publishes one message on a channel; resolves with its id when the broker has taken it, whether
 * anybody listens or not. The exchange must have been declared.
 * @throws BrokerAwayError, PublishRefusedError.
 */
export async function publishOnChannel(
  broker: Broker,
  channel: string,
  { contentType, body, headers, isPersistent = false }: ChannelPayload,
  { patienceMs = 0, isAwaited = true }: PublishOnOptions = {},
): Promise<string> {
  let ids = makers.get(broker);
  if (ids === undefined) makers.set(broker, ids = new MessageIds(systemClock, "message"));
  let messageId = "";
  // A new id for each try: what was published meanwhile has gone ahead of it.
  const message = () => ({
    exchange: PUBSUB_EXCHANGE.name,
    routingKey: channel,
    properties: {
      contentType,
      messageId: messageId = ids.next(),
      appId: APP_ID,
      ...(headers === undefined ? {} : { headers }),
      ...(isPersistent ? { persistent: true } : {}),
    },
    body,
  });
  await publishPatiently(broker, message, { confirm: isAwaited }, patienceMs);
  return messageId;
}
