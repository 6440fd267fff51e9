/** Channels over real WebSockets, on a real broker: order, sizes, and who does not read. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { HttpServer } from "../../src/platform/http_server.ts";
import { Channels } from "../../src/pubsub/channels.ts";
import { type Folder, makeFolder } from "../support/folders.ts";
import { until } from "../support/waiting.ts";
import { front } from "./front.ts";

const MAX_BACKLOG = 200;

describe("a WebSocket on a channel", () => {
  let folder: Folder;
  let broker: Broker;
  let channels: Channels;
  let server: HttpServer;

  beforeAll(async () => {
    folder = await makeFolder();
    broker = new EmbeddedBroker({ dataDir: folder.path }).connect();
    await broker.start();
  });
  afterAll(async () => {
    await broker.stop();
    await folder[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    channels = new Channels({
      broker,
      replay: { maxMessages: 1_000, maxBytes: 64 * 2 ** 20, maxAgeMs: 60_000 },
      maxBacklog: MAX_BACKLOG,
      maxSubscribers: 100,
    });
    await channels.start();
    const { app } = front({ channels });
    server = new HttpServer({
      host: "127.0.0.1",
      port: 0,
      handler: (request, connection) => app.fetch(request, connection),
    });
    await server.start();
  });
  afterEach(async () => {
    await channels.stop();
    await server.stop(AbortSignal.abort());
  });

  const publish = (value: unknown) =>
    channels.publish("sizes", {
      contentType: "application/json",
      body: new TextEncoder().encode(JSON.stringify(value)),
    });

  async function open(): Promise<
    { readonly told: Record<string, unknown>[]; readonly socket: WebSocket }
  > {
    const told: Record<string, unknown>[] = [];
    const socket = new WebSocket(`${server.url.replace("http", "ws")}/channels/sizes`);
    socket.onmessage = ({ data }) => told.push(JSON.parse(String(data)));
    await new Promise((resolve) => socket.onopen = resolve);
    return { told, socket };
  }

  /** A client that reads and ends as it is told to. */
  function openBare(): Socket {
    const socket = connect(server.port, "127.0.0.1");
    socket.write(
      "GET /channels/sizes HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n" +
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    return socket;
  }

  test("gets many at once, small and large, each whole and in order", async () => {
    const sockets = await Promise.all(Array.from({ length: 40 }, open));
    const sizes = Array.from({ length: 150 }, (_, i) => i % 50 === 49 ? 300_000 : i * i % 20_000);
    await Promise.all(sizes.map((size, i) => publish({ i, text: "é".repeat(size) })));
    for (const { told, socket } of sockets) {
      await until("all messages", () => told.length === sizes.length);
      expect(told.map(({ message }) => message)).toEqual(
        sizes.map((size, i) => ({ i, text: "é".repeat(size) })),
      );
      socket.close();
    }
  });

  test("that is not read is told of its gap when it is, and the others miss nothing", async () => {
    const deaf = openBare();
    deaf.pause();
    await until("the socket that is not read", () => channels.status.subscribers === 1);
    const { told, socket } = await open();
    const text = "x".repeat(50_000);
    for (let i = 0; i < 3 * MAX_BACKLOG; i++) {
      await publish({ i, text });
      // It reads; its backlog is as short as the other's.
      if (i % 50 === 49) await until("what was published", () => told.length === i + 1);
    }
    expect(told.map(({ message }) => message)).toEqual(
      Array.from({ length: 3 * MAX_BACKLOG }, (_, i) => ({ i, text })),
    );
    let rest = "";
    let gap = "";
    deaf.on("data", (data) => {
      const text = rest + data.toString("latin1");
      gap = /"gap":"too_slow","missed":\d+/.exec(text)?.[0] ?? gap;
      // More than a message.
      rest = text.slice(-100_000);
    });
    deaf.resume();
    await until("the gap to be told", () => gap !== "");
    await until("the latest message", () => rest.includes(`"i":${3 * MAX_BACKLOG - 1},`));
    deaf.destroy();
    await until("the room of who left", () => channels.status.subscribers === 1);
    socket.close();
  });

  test("that goes away in the middle of what it is sent harms nobody", async () => {
    const { told, socket } = await open();
    const leaving = Array.from({ length: 20 }, openBare);
    for (const one of leaving) one.resume();
    await until("all to be there", () => channels.status.subscribers === 21);
    for (let i = 0; i < 100; i++) {
      const published = publish({ i, text: "x".repeat(10_000) });
      if (i % 5 === 4) leaving[(i - 4) / 5]?.resetAndDestroy();
      await published;
    }
    await until("all messages", () => told.length === 100);
    await until("the room of those who left", () => channels.status.subscribers === 1);
    socket.close();
    await until("the room of the last", () => channels.status.subscribers === 0);
  });
});
