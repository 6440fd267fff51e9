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
import { AFTER_HEADER, channelPoll } from "../channel_poll.ts";
import { readChannelQuery } from "../channel_query.ts";
import { channelSocket, chosenProtocol } from "../channel_socket.ts";
import { channelStream } from "../channel_stream.ts";
import { addNameless, type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import { originProblem } from "../origins.ts";
import { shortened } from "../problems.ts";
import { messageType } from "../publish_options.ts";

export interface ChannelRoutes {
  readonly channels: Pick<Channels, "publish" | "subscribe">;
  readonly maxBodyBytes: number;
  readonly fail: Fail;
  readonly clock: Clock;
}

const PREFIX = "/channels/";
/**
 * POST: JSON or text, answered 202 with the message's id once the broker has it. GET: `?wait=` (30 s),
 * `?after=` and `?limit=` for a long poll (200 with an array, 204 when nothing came); `Accept:
 * text/event-stream`, with `Last-Event-ID`; or an upgrade to a WebSocket, with `?after=`. The channel
 * of a GET may have the wildcards `*` (one word) and `#` (none or more; write `%23`).
 */
export function addChannelRoutes(app: Hono<AppEnv>, routes: ChannelRoutes): void {
  const { channels, maxBodyBytes, fail, clock } = routes;

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
    // It could read none of it, and would hold a place all the same.
    const foreign = originProblem(headers);
    if (foreign !== undefined) return fail(foreign);
    const after = headers.get("last-event-id") || query.value.after;
    let subscription: Subscription;
    try {
      subscription = channels.subscribe(pattern.value, after);
    } catch (error) {
      if (!(error instanceof TooManySubscribersError)) throw error;
      return fail({ name: "too-many-subscribers", detail: error.message });
    }
    // A HEAD is answered by this route too, and nobody would read what comes.
    if (request.method === "HEAD") {
      using left = subscription;
      return new Response(null, { headers: { [AFTER_HEADER]: left.position } });
    }
    if (headers.get("upgrade")?.toLowerCase() === "websocket") {
      return upgrade(c, subscription) ??
        fail({ name: "bad-request", detail: "The connection cannot become a WebSocket" });
    }
    if (headers.get("accept")?.includes("text/event-stream")) {
      c.env?.holdOpen?.(request);
      return channelStream(request.signal, subscription);
    }
    const { waitMs, limit } = query.value;
    return await patiently(c, channelPoll(request.signal, subscription, { waitMs, limit, clock }));
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
