/** `/channels/{channel}` without a socket, on a real broker: what is taken, refused and told. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { PUBSUB_EXCHANGE } from "../../src/broker/topology.ts";
import type { HttpApp } from "../../src/http/app.ts";
import { channelStream } from "../../src/http/channel_stream.ts";
import { Channels } from "../../src/pubsub/channels.ts";
import { type Folder, makeFolder } from "../support/folders.ts";
import { front, post, problemOf } from "./front.ts";

const LIMITS = {
  replay: { maxMessages: 100, maxBytes: 1_000_000, maxAgeMs: 60_000 },
  maxBacklog: 100,
  maxSubscribers: 3,
};
const SSE = { accept: "text/event-stream" };

describe("/channels/{channel}", () => {
  let folder: Folder;
  let broker: Broker;
  let channels: Channels;
  let app: HttpApp;

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
    channels = new Channels({ broker, ...LIMITS });
    await channels.start();
    app = front({ channels }).app;
  });

  const get = (path: string, headers: Record<string, string> = {}) =>
    app.request(`/channels/${path}`, { headers });
  const publish = async (channel: string, body: string, type?: string): Promise<string> => {
    const headers = type === undefined ? {} : { "content-type": type };
    const response = await post(app, `/channels/${channel}`, body, headers);
    expect(response.status).toBe(202);
    return (await response.json()).id;
  };

  /** Frames of a stream, as texts; leaves it afterwards. */
  async function frames(response: Response, count: number): Promise<string[]> {
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (text.split("\n\n").length <= count) {
      const { done, value } = await reader?.read() ?? { done: true };
      if (done) break;
      text += value;
    }
    await reader?.cancel();
    return text.split("\n\n").slice(0, -1);
  }

  test("takes JSON, texts and what forms send, and tells each as it is", async () => {
    const start = await get("a?wait=0s");
    expect(start.status).toBe(204);
    await publish("a", '{ "n": 12345678901234567890,\n "x": 1.0 }', "application/json");
    await publish("a", '"quoted"', "application/vnd.x+json; charset=utf-8");
    await publish("a", "plain\nwords", "text/csv; charset=utf-8");
    await publish("a", "[1]");
    await publish("a", "no json", "application/x-www-form-urlencoded");
    await publish("a", "", "text/plain");
    const answer = await get(`a?after=${start.headers.get("cox-after")}`);
    const text = await answer.text();
    // Numbers keep what a double would lose.
    expect(text).toContain('"message":{ "n": 12345678901234567890,  "x": 1.0 }');
    expect(JSON.parse(text)).toMatchObject([
      { channel: "a", message: { x: 1 } },
      { message: "quoted" },
      { message: "plain\nwords", contentType: "text/csv" },
      { message: [1] },
      { message: "no json", contentType: "text/plain" },
      { message: "", contentType: "text/plain" },
    ]);
    expect(JSON.parse(text)[0]).not.toHaveProperty("contentType");
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });

  test("tells bytes of strangers in base64, and what they call JSON and is none as text", async () => {
    const start = await get("a?wait=0s");
    for (
      const [contentType, body] of [
        ["application/octet-stream", new Uint8Array([0xff, 0])],
        ["application/json", new TextEncoder().encode("{nonsense")],
      ] as const
    ) {
      await broker.publish({
        exchange: PUBSUB_EXCHANGE.name,
        routingKey: "a",
        properties: { contentType, messageId: "one\r\ndata: two" },
        body,
      });
    }
    const response = await get(`a?after=${start.headers.get("cox-after")}`, SSE);
    const [, first = "", second = ""] = await frames(response, 3);
    expect(first.split("\n")[0]).toBe("id: one  data: two");
    expect(JSON.parse(first.split("\ndata: ")[1] ?? "")).toMatchObject({
      message: { base64: "/wA=" },
      contentType: "application/octet-stream",
    });
    expect(JSON.parse(second.split("\ndata: ")[1] ?? "")).toMatchObject({ message: "{nonsense" });
  });

  test("refuses what cannot be published, and says why", async () => {
    const refusals: [path: string, body: string, type: string, status: number, why: string][] = [
      ["orders.*", "1", "", 400, '"*" or "#" as a word'],
      ["%23", "1", "", 400, '"*" or "#" as a word'],
      ["", "1", "", 400, "must not be empty"],
      ["%20", "1", "", 400, "must not be empty"],
      ["a%00", "1", "", 400, "control characters"],
      ["x".repeat(256), "1", "", 400, "at most 255 bytes"],
      ["a", "{", "application/json", 400, "not JSON"],
      ["a", "x".repeat(1_001), "text/plain", 413, "limit of 1000 bytes"],
    ];
    for (const [path, body, type, status, why] of refusals) {
      const headers: Record<string, string> = type === "" ? {} : { "content-type": type };
      const response = await post(app, `/channels/${path}`, body, headers);
      expect(response.status).toBe(status);
      expect((await problemOf(response)).detail).toContain(why);
    }
    const bytes = await app.request("/channels/a", {
      method: "POST",
      headers: { "content-type": "text/plain" },
      body: new Uint8Array([0xff]),
    });
    expect((await problemOf(bytes)).detail).toContain("UTF-8");
  });

  test("answers 503 while the broker is away", async () => {
    const away = new EmbeddedBroker({ dataDir: folder.path }).connect();
    const other = front({ channels: new Channels({ broker: away, ...LIMITS }) }).app;
    const response = await post(other, "/channels/a", "1");
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).not.toBeNull();
    expect((await problemOf(response)).type).toBe("/problems/broker-away");
  });

  test("hangs until something is published", async () => {
    const polled = get("a.*");
    await Promise.resolve();
    const id = await publish("a.b", "1");
    expect(await (await polled).json()).toEqual([
      { id, channel: "a.b", message: 1, at: expect.stringMatching(/^\d{4}-.*Z$/) },
    ]);
  });

  test("gives no more than the limit, and the rest after it", async () => {
    const start = (await get("a?wait=0s")).headers.get("cox-after");
    for (let i = 0; i < 5; i++) await publish("a", `${i}`);
    const first = await get(`a?after=${start}&limit=3`);
    const messages = await first.json();
    expect(messages.map(({ message }: { message: number }) => message)).toEqual([0, 1, 2]);
    expect(first.headers.get("cox-after")).toBe(messages[2].id);
    const second = await get(`a?after=${messages[2].id}`);
    expect((await second.json()).map(({ message }: { message: number }) => message))
      .toEqual([3, 4]);
  });

  test("tells who comes with what is not kept, and where to go on", async () => {
    for (let i = 0; i < 120; i++) await publish("a", `${i}`);
    const told = await (await get("a?after=long-gone&limit=3")).json();
    expect(told).toMatchObject([{ gap: "not_kept" }, { message: 20 }, { message: 21 }]);
    // A gap is an element to go on after, too: with its id, what followed comes again.
    expect(await (await get(`a?after=${told[0].id}&limit=1`)).json()).toEqual([told[1]]);
    const nothing = await (await get("b?after=long-gone")).json();
    expect(nothing).toMatchObject([{ gap: "not_kept" }]);
    expect((await get(`b?after=${nothing[0].id}&wait=0s`)).status).toBe(204);
  });

  test("streams what comes, from the last id on, and says how to come back", async () => {
    const ids = [await publish("a", "0"), await publish("a", "1"), await publish("a", "2")];
    const response = await get("%23", { ...SSE, "last-event-id": ids[0] ?? "" });
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(response.headers.get("cache-control")).toBe("no-store");
    const [opening = "", one = "", two = ""] = await frames(response, 3);
    expect(opening).toMatch(/^retry: 1\d{3}$/);
    expect(one).toStartWith(`id: ${ids[1]}\ndata: {"id":"${ids[1]}","channel":"a","message":1,`);
    expect(two).toStartWith(`id: ${ids[2]}\n`);
    const gone = await frames(await get("a", { ...SSE, "last-event-id": "gone" }), 2);
    expect(gone[1]).toMatch(/^event: gap\nid: \S+\ndata: \{"id":"\S+","gap":"not_kept"/);
    expect(channels.status.subscribers).toBe(0);
  });

  test("keeps a silent stream alive, and its client where it is", async () => {
    const gone = new AbortController();
    const subscription = channels.subscribe("a");
    const response = channelStream(gone.signal, subscription, 5);
    const other = await publish("b", "1");
    await new Promise((resolve) => setTimeout(resolve, 10));
    const [, ...silence] = await frames(response, 8);
    expect(silence.at(-1)).toBe(`: still here\nid: ${other}`);
    expect(subscription.isClosed).toBe(true);
  });

  test("frees who goes away, and takes no more than it may", async () => {
    const gone = new AbortController();
    const streams = await Promise.all([1, 2].map(() => get("a", SSE)));
    const poll = app.request("/channels/a", { signal: gone.signal });
    await Promise.resolve();
    const refused = await get("a");
    expect(refused.status).toBe(503);
    expect((await problemOf(refused)).type).toBe("/problems/too-many-subscribers");
    gone.abort();
    expect((await poll).status).toBe(204);
    await streams[0]?.body?.cancel();
    expect(channels.status.subscribers).toBe(1);
    await streams[1]?.body?.cancel();
    expect(channels.status.subscribers).toBe(0);
  });

  test("answers HEAD at once, and does not wait for anything", async () => {
    const response = await app.request("/channels/a", { method: "HEAD" });
    expect(response.status).toBe(200);
    expect(response.headers.get("cox-after")).not.toBeNull();
    expect(channels.status.subscribers).toBe(0);
  });

  test("keeps pages of other origins from holding places", async () => {
    const headers = { ...SSE, origin: "https://evil.example", "sec-fetch-site": "cross-site" };
    expect((await get("a", headers)).status).toBe(403);
    expect((await get("a", { "sec-fetch-site": "same-site" })).status).toBe(403);
    expect((await get("a?wait=0s", { "sec-fetch-site": "same-origin" })).status).toBe(204);
  });
});
