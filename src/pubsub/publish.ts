/** Publishing on a channel, which is a topic of the exchange `cox.pubsub`. */
import type { Broker } from "../broker/broker.ts";
import { publishPatiently } from "../broker/publish_patiently.ts";
import { PUBSUB_EXCHANGE } from "../broker/topology.ts";
import { newId } from "../platform/ids.ts";

export interface ChannelPayload {
  readonly contentType: string;
  readonly body: Uint8Array;
}

export interface PublishOnOptions {
  /** How long a broker that is away is waited for, in milliseconds. Default 0. */
  readonly patienceMs?: number;
}

/**
 * Publishes one message on a channel; resolves with its id when the broker has taken it, whether
 * anybody listens or not. The exchange must have been declared.
 * @throws BrokerAwayError, PublishRefusedError.
 */
export async function publishOnChannel(
  broker: Broker,
  channel: string,
  { contentType, body }: ChannelPayload,
  { patienceMs = 0 }: PublishOnOptions = {},
): Promise<string> {
  const id = newId();
  await publishPatiently(
    broker,
    {
      exchange: PUBSUB_EXCHANGE.name,
      routingKey: channel,
      properties: { contentType, messageId: id },
      body,
    },
    { confirm: true },
    patienceMs,
  );
  return id;
}
