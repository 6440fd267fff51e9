/** A subscriber behind an event stream: written to as fast as its client reads. */
import type { Subscription } from "../pubsub/subscription.ts";
import { eventFrames, keepAliveFrame, openingFrame } from "./channel_format.ts";

/** A stream that is silent for longer is taken for dead by proxies. */
const KEEP_ALIVE_MS = 15_000;
/**
 * What a browser waits before it connects again; up to twice as long, at random, so that those that
 * lost their front together do not come together.
 */
const RETRY_MS = 1_000;

/**
 * The runtime asks for more when the client has taken what there was, so what it does not read waits in
 * the log that all subscribers share.
 * @param signal aborts when the client goes away.
 */
export function channelStream(
  signal: AbortSignal,
  subscription: Subscription,
  keepAliveMs = KEEP_ALIVE_MS,
): Response {
  let keepAlive: ReturnType<typeof setInterval> | undefined;
  const end = () => {
    clearInterval(keepAlive);
    subscription.close();
  };
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(openingFrame(RETRY_MS + Math.floor(Math.random() * RETRY_MS)));
      keepAlive = setInterval(() => {
        if ((controller.desiredSize ?? 0) <= 0) return;
        controller.enqueue(keepAliveFrame(subscription.position));
      }, keepAliveMs);
    },
    async pull(controller) {
      const events = await subscription.next();
      if (events.length > 0) return controller.enqueue(eventFrames(events));
      clearInterval(keepAlive);
      // Its client may be gone, and the stream cancelled.
      if (!signal.aborted) controller.close();
    },
    cancel: end,
  });
  return new Response(stream, {
    headers: {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      // nginx gathers answers otherwise.
      "x-accel-buffering": "no",
    },
  });
}
