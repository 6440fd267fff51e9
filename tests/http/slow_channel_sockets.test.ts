/** A subscriber behind a WebSocket that reads slowly, says something, or goes away. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { channelSocket, chosenProtocol } from "../../src/http/channel_socket.ts";
import type { SocketPeer } from "../../src/platform/http_server.ts";
import { Channels } from "../../src/pubsub/channels.ts";
import { type Folder, makeFolder } from "../support/folders.ts";

/** The other end, as far as the front sees it: takes nothing off the socket unless it is told to. */
class FakePeer implements SocketPeer {
  readonly sent: Record<string, unknown>[] = [];
  closed: [code: number, reason: string] | undefined;
  unreadBytes = 0;

  send(texts: readonly string[]): void {
    for (const text of texts) {
      this.sent.push(JSON.parse(text));
      this.unreadBytes += text.length;
    }
  }

  close(code: number, reason: string): void {
    this.closed = [code, reason];
  }
}

describe("channelSocket()", () => {
  let folder: Folder;
  let broker: Broker;
  let channels: Channels;
  beforeAll(async () => {
    folder = await makeFolder();
    broker = new EmbeddedBroker({ dataDir: folder.path }).connect();
    await broker.start();
  });
  afterAll(async () => {
    await channels.stop();
    await broker.stop();
    await folder[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    await channels?.stop();
    const replay = { maxMessages: 20, maxBytes: 10_000_000, maxAgeMs: 60_000 };
    channels = new Channels({ broker, replay, maxBacklog: 20, maxSubscribers: 5 });
    await channels.start();
  });

  const publish = async (from: number, to: number, filler = "") => {
    for (let n = from; n < to; n++) {
      const body = new TextEncoder().encode(JSON.stringify({ n, filler }));
      await channels.publish("a", { contentType: "application/json", body });
    }
  };
  /** The log forgets a moment after. */
  const settled = () => new Promise((resolve) => setTimeout(resolve, 100));
  const numbers = ({ sent }: FakePeer) =>
    sent.map((event) => "gap" in event ? event["gap"] : (event["message"] as { n: number }).n);

  test("sends what comes, and stops while the client does not read", async () => {
    const peer = new FakePeer();
    const socket = channelSocket(channels.subscribe("a"));
    socket.open(peer);
    await publish(0, 3);
    await settled();
    expect(numbers(peer)).toEqual([0, 1, 2]);
    await publish(3, 60, "x".repeat(40_000));
    await settled();
    const before = peer.sent.length;
    expect(before).toBeLessThan(8);
    // Drained, it is told what it missed, and what is kept as far as there is room.
    peer.unreadBytes = 0;
    socket.drain(peer);
    await settled();
    expect(numbers(peer).slice(before)).toContain("too_slow");
    while (numbers(peer).at(-1) !== 59) {
      peer.unreadBytes = 0;
      socket.drain(peer);
      await settled();
    }
    const gap = peer.sent.find((event) => "gap" in event);
    const got = numbers(peer).filter((one) => typeof one === "number");
    expect(got.length + Number(gap?.["missed"])).toBe(60);
    expect(got).toEqual(got.toSorted((a, b) => a - b));
    socket.close(peer);
    expect(channels.status.subscribers).toBe(0);
  });

  test("ends when its front stops, when the client says something, and with it", async () => {
    const peers = [new FakePeer(), new FakePeer(), new FakePeer()] as const;
    const sockets = peers.map(() => channelSocket(channels.subscribe("a")));
    for (const [index, peer] of peers.entries()) sockets[index]?.open(peer);
    sockets[0]?.message(peers[0], "hello?");
    expect(peers[0].closed?.[0]).toBe(1003);
    sockets[1]?.close(peers[1]);
    expect(channels.status.subscribers).toBe(2);
    channels.endSubscriptions();
    await settled();
    expect(peers[2].closed).toEqual([1001, "The front stops"]);
    expect(channels.status.subscribers).toBe(0);
  });

  test("speaks its subprotocol where it is offered, and never a token", () => {
    expect(chosenProtocol(null)).toBeUndefined();
    expect(chosenProtocol("other")).toBeUndefined();
    expect(chosenProtocol("coxswain.bearer.abc, coxswain.channels")).toBe("coxswain.channels");
  });
});
