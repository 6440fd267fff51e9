/** What a subscriber gets: messages, and word of what it missed. */
import type { Message } from "../broker/message.ts";
import { createdAtOf, newId } from "../platform/ids.ts";

export interface ChannelMessage {
  readonly kind: "message";
  /** Place in this front's order. */
  readonly seq: number;
  /** Made by the publisher where it is ours; the same on every front. */
  readonly id: string;
  readonly channel: string;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** When it was published, in epoch milliseconds. */
  readonly at: number;
}

/** Messages may have been missed between what came before and what comes next. */
export interface ChannelGap {
  readonly kind: "gap";
  readonly seq: number;
  readonly reason: GapReason;
  /** How many, where that is known. */
  readonly missed?: number;
  readonly at: number;
}

export type GapReason =
  /** The subscriber was too slow for its backlog. */
  | "too_slow"
  /** This front had no connection to the broker. */
  | "broker_away"
  /** What it asked for has been forgotten, or was never known here. */
  | "not_kept";

export type ChannelEvent = ChannelMessage | ChannelGap;

const OCTETS = "application/octet-stream";

/** Reads a message of the exchange `cox.pubsub`, whoever published it. */
export function readChannelMessage(
  { routingKey, properties, body }: Message,
  seq: number,
  now: number,
): ChannelMessage {
  const id = properties.messageId ?? newId();
  return {
    kind: "message",
    seq,
    id,
    channel: routingKey,
    contentType: properties.contentType ?? OCTETS,
    body,
    at: createdAtOf(id) ?? properties.timestamp?.getTime() ?? now,
  };
}
