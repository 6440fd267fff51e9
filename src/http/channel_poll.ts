/** A subscriber behind a long poll: waits for the first event, and answers with all that are there. */
import type { Clock } from "../lifecycle/clock.ts";
import type { ChannelEvent } from "../pubsub/channel_event.ts";
import type { Subscription } from "../pubsub/subscription.ts";
import { eventsJson } from "./channel_format.ts";

export interface PollOptions {
  readonly waitMs: number;
  /** Most events of an answer. */
  readonly limit: number;
  readonly clock: Clock;
}

/** Where to go on, on every answer, so that nothing is lost between two polls. */
export const AFTER_HEADER = "cox-after";
/** An answer that is larger gets no further events. */
const MAX_ANSWER_BYTES = 4 * 2 ** 20;

/** @param signal aborts when the client goes away. */
export async function channelPoll(
  signal: AbortSignal,
  subscription: Subscription,
  { waitMs, limit, clock }: PollOptions,
): Promise<Response> {
  using _closed = subscription;
  const over = Promise.withResolvers<void>();
  const end = () => {
    over.resolve();
    subscription.close();
  };
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  const timer = clock.after(waitMs, end);
  let events: readonly ChannelEvent[] = takeAll(subscription, limit);
  while (events.length === 0 && !subscription.isClosed) {
    await Promise.race([subscription.ready(), over.promise]);
    events = takeAll(subscription, limit);
  }
  timer.cancel();
  signal.removeEventListener("abort", end);
  const headers = { [AFTER_HEADER]: subscription.position, "cache-control": "no-store" };
  return events.length === 0 ? new Response(null, { status: 204, headers }) : new Response(
    eventsJson(events),
    { headers: { ...headers, "content-type": "application/json" } },
  );
}

function takeAll(subscription: Subscription, limit: number): readonly ChannelEvent[] {
  const all: ChannelEvent[] = [];
  let bytes = 0;
  while (all.length < limit && bytes < MAX_ANSWER_BYTES) {
    const some = subscription.take(limit - all.length);
    if (some.length === 0) break;
    for (const event of some) bytes += event.json.length;
    all.push(...some);
  }
  return all;
}
