/** A subscriber behind a WebSocket: one text for each event, as fast as the client reads. */
import type { SocketHandler, SocketPeer } from "../platform/http_server.ts";
import type { Subscription } from "../pubsub/subscription.ts";

/** The subprotocol that is spoken; a client that offers none gets the same. */
const PROTOCOL = "coxswain.channels";
/** Past so many bytes that the client has not read, what comes waits in the subscription. */
const MAX_UNREAD_BYTES = 64 * 1024;

/** RFC 6455, section 7.4.1. */
const CLOSE_UNSUPPORTED = 1003;
const CLOSE_GOING_AWAY = 1001;

/** The one of the offered subprotocols that is answered with. */
export function chosenProtocol(offered: string | null): string | undefined {
  const names = (offered ?? "").split(",").map((name) => name.trim());
  return names.includes(PROTOCOL) ? PROTOCOL : undefined;
}

export function channelSocket(subscription: Subscription): SocketHandler {
  let drained = Promise.withResolvers<void>();
  return {
    open: (peer) =>
      void write(peer, subscription, () => drained.promise).finally(() => subscription.close()),
    drain: () => {
      drained.resolve();
      drained = Promise.withResolvers<void>();
    },
    message: (peer) => peer.close(CLOSE_UNSUPPORTED, "This socket only tells"),
    close: () => {
      subscription.close();
      drained.resolve();
    },
  };
}

async function write(
  peer: SocketPeer,
  subscription: Subscription,
  drained: () => Promise<void>,
): Promise<void> {
  for (let events = await subscription.next(); events.length > 0;) {
    peer.send(events.map(({ json }) => json));
    while (peer.unreadBytes > MAX_UNREAD_BYTES && !subscription.isClosed) await drained();
    events = await subscription.next();
  }
  peer.close(CLOSE_GOING_AWAY, "The front stops");
}
