/**
 * `/channels/{channel}`: publish with POST; subscribe with GET, as a long poll, an event stream or a
 * WebSocket, whichever the request asks for.
 */
import type { Context, Hono } from "hono";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Channels } from "../../pubsub/channels.ts";
import { TooManySubscribersError } from "../../pubsub/channels.ts";
import { problemOfChannel, problemOfPattern } from "../../pubsub/channel_name.ts";
import type { Subscription } from "../../pubsub/subscription.ts";
import { readBytes } from "../body.ts";
import { eventJson, FrameGroups } from "../channel_format.ts";
import { type ChannelQuery, readChannelQuery } from "../channel_query.ts";
import { channelSocket, chosenProtocol } from "../channel_socket.ts";
import { addNameless, type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import { shortened } from "../problems.ts";
import { messageType } from "../publish_options.ts";

export interface ChannelRoutes {
  readonly channels: Pick<Channels, "publish" | "subscribe" | "position">;
  readonly maxBodyBytes: number;
  readonly fail: Fail;
  readonly clock: Clock;
}

const PREFIX = "/channels/";
/** The id to go on after: on every answer of a poll, so that nothing is lost between two. */
const AFTER_HEADER = "cox-after";
/** A stream that is silent for longer is taken for dead by proxies. */
const KEEP_ALIVE_MS = 15_000;
/** What a browser waits before it connects again, in milliseconds. */
const RETRY_MS = 1_000;
const encoder = new TextEncoder();
const KEEP_ALIVE = encoder.encode(": still here\n\n");
const OPENING = encoder.encode(`retry: ${RETRY_MS}\n\n`);

/**
 * POST: JSON or text, answered 202 with the message's id once the broker has it. GET: `?wait=` (30 s),
 * `?after=` and `?limit=` for a long poll (200 with an array, 204 when nothing came); `Accept:
 * text/event-stream`, with `Last-Event-ID`; or an upgrade to a WebSocket, with `?after=`. The channel
 * of a GET may have the wildcards `*` (one word) and `#` (none or more; write `%23`).
 */
export function addChannelRoutes(app: Hono<AppEnv>, routes: ChannelRoutes): void {
  const { channels, maxBodyBytes, fail, clock } = routes;
  const groups = new FrameGroups();

  const publish = async (c: Context<AppEnv>): Promise<Response> => {
    const channel = segment(c.req.path.slice(PREFIX.length));
    if ("problem" in channel) return fail(channel.problem);
    const problem = problemOfChannel(channel.value);
    if (problem !== undefined) return fail(badName(channel.value, problem));
    const body = await readBytes(c.req.raw, maxBodyBytes);
    if ("problem" in body) return fail(body.problem);
    const contentType = messageType(c.req.raw.headers.get("content-type"), body.value);
    if ("problem" in contentType) return fail(contentType.problem);
    const payload = { contentType: contentType.value, body: body.value };
    const published = await patiently(c, channels.publish(channel.value, payload));
    switch (published.kind) {
      case "published":
        return Response.json({ id: published.id, channel: channel.value }, { status: 202 });
      case "broker_away":
        return fail({ name: "broker-away", detail: published.message });
      case "refused":
        return fail({ name: "refused", detail: published.message });
    }
  };
  app.post("/channels/:channel", publish);
  addNameless(app, "/channels", publish);
  addNameless(app, "/channels/", publish);

  app.get("/channels/:channel", async (c) => {
    const request = c.req.raw;
    const pattern = segment(c.req.path.slice(PREFIX.length));
    if ("problem" in pattern) return fail(pattern.problem);
    const problem = problemOfPattern(pattern.value);
    if (problem !== undefined) return fail(badName(pattern.value, problem));
    const query = readChannelQuery(request.url);
    if ("problem" in query) return fail(query.problem);
    const { headers } = request;
    const after = headers.get("last-event-id") ?? query.value.after;
    const position = channels.position();
    let subscription: Subscription;
    try {
      subscription = channels.subscribe(pattern.value, after);
    } catch (error) {
      if (!(error instanceof TooManySubscribersError)) throw error;
      return fail({ name: "too-many-subscribers", detail: error.message });
    }
    if (headers.get("upgrade")?.toLowerCase() === "websocket") {
      return upgrade(c, subscription) ??
        fail({ name: "bad-request", detail: "The connection cannot become a WebSocket" });
    }
    if (headers.get("accept")?.includes("text/event-stream")) {
      c.env?.holdOpen?.(request);
      return eventStream(request, subscription, groups);
    }
    const polled = poll(request, subscription, query.value, { position, clock });
    return await patiently(c, polled);
  });
}

function badName(name: string, problem: string) {
  return {
    name: "reserved-name",
    detail: `Channel "${shortened(name)}" ${problem}`,
  } as const;
}

function upgrade(c: Context<AppEnv>, subscription: Subscription): Response | undefined {
  const request = c.req.raw;
  const protocol = chosenProtocol(request.headers.get("sec-websocket-protocol"));
  const upgraded = c.env?.upgrade?.(request, channelSocket(subscription), protocol);
  if (upgraded === undefined) subscription.close();
  return upgraded;
}

/** Waits for the first event, and answers with all that are there by then. */
async function poll(
  { signal }: Request,
  subscription: Subscription,
  { waitMs, limit }: ChannelQuery,
  { position, clock }: { readonly position: string; readonly clock: Clock },
): Promise<Response> {
  using _closed = subscription;
  const over = Promise.withResolvers<void>();
  const onAbort = () => over.resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  const timer = clock.after(waitMs, onAbort);
  await Promise.race([subscription.ready(), over.promise]);
  timer.cancel();
  signal.removeEventListener("abort", onAbort);
  const events = subscription.take(limit);
  if (events.length === 0) {
    return new Response(null, { status: 204, headers: { [AFTER_HEADER]: position } });
  }
  const last = events.findLast((event) => event.kind === "message");
  return new Response(`[${events.map(eventJson).join(",")}]`, {
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store",
      [AFTER_HEADER]: last?.id ?? position,
    },
  });
}

/** Writes as fast as the client reads; what it does not take waits in the subscription, bounded. */
function eventStream(
  { signal }: Request,
  subscription: Subscription,
  groups: FrameGroups,
): Response {
  let keepAlive: ReturnType<typeof setInterval> | undefined;
  const end = () => {
    clearInterval(keepAlive);
    subscription.close();
  };
  signal.addEventListener("abort", end, { once: true });
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(OPENING);
      keepAlive = setInterval(() => {
        if ((controller.desiredSize ?? 0) > 0) controller.enqueue(KEEP_ALIVE);
      }, KEEP_ALIVE_MS);
    },
    async pull(controller) {
      await subscription.ready();
      const events = subscription.take();
      if (events.length > 0) controller.enqueue(groups.get(subscription.pattern, events));
      if (!subscription.isClosed) return;
      clearInterval(keepAlive);
      controller.close();
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
