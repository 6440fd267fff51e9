/** Deliveries without a broker, for tests of what reads or decides upon them. */
import type { Delivery, Message } from "../../src/broker/message.ts";

/** How a delivery was settled: in order, at most one entry counts for a broker. */
export type Settled = "ack" | "requeue" | "reject";

/** A delivery of a message, with a record of its settlements. */
export function deliveryOf(
  message: Message,
  { queue = "q", redelivered = false, unreadable }: {
    queue?: string;
    redelivered?: boolean;
    unreadable?: string;
  } = {},
): Delivery & { readonly settled: Settled[] } {
  const settled: Settled[] = [];
  return {
    message,
    queue,
    redelivered,
    settled,
    ...(unreadable === undefined ? {} : { unreadable }),
    ack: () => void settled.push("ack"),
    nack: ({ requeue }) => void settled.push(requeue ? "requeue" : "reject"),
  };
}
