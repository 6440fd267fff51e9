/** A front's application on a real socket: bodies, disconnects, names and numbers of clients. */
import { afterEach, describe, expect, test } from "bun:test";
import { HttpServer } from "../../src/platform/http_server.ts";
import { RawHttp } from "../support/raw_http.ts";
import {
  front,
  type FrontSettings,
  type ScriptedCaller,
  succeeded,
  untilCancelled,
} from "./front.ts";

const MIB = 2 ** 20;
const LIMIT = 12 * MIB;

let server: HttpServer | undefined;

async function listen(settings: FrontSettings = {}) {
  const { app, caller } = front({
    ...settings,
    options: { maxBodyBytes: LIMIT, ...settings.options },
  });
  server = new HttpServer({
    host: "127.0.0.1",
    port: 0,
    handler: (request, connection) => app.fetch(request, connection),
  });
  await server.start();
  return { url: server.url, port: server.port, caller };
}

afterEach(async () => {
  await server?.stop(AbortSignal.abort());
  server = undefined;
});

/** Resolves when the caller has seen so many calls. */
function callsSeen(caller: ScriptedCaller, count: number): Promise<void> {
  const seen = Promise.withResolvers<void>();
  const { script } = caller;
  caller.script = (call) => {
    if (caller.seen.length === count) seen.resolve();
    return script(call);
  };
  return seen.promise;
}

const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
const CHUNKED = ["Transfer-Encoding: chunked"];
const CALL = "/tasks/t/call";

describe("a client that goes away", () => {
  test("cancels its call, also the second one on a kept connection", async () => {
    const { port, caller } = await listen();
    const cancelled = Promise.withResolvers<void>();
    caller.script = async (call) => {
      if (call.task === "quick") return succeeded(1);
      const ending = await untilCancelled(call);
      cancelled.resolve();
      return ending;
    };
    const waiting = callsSeen(caller, 2);
    using client = await RawHttp.open(port);
    await client.request("POST", "/tasks/quick/call", "[]");
    expect((await client.response()).body).toBe("1");
    await client.request("POST", CALL, "[]");
    await waiting;
    client.drop();
    await cancelled.promise;
  });

  test("in the middle of its body calls nothing", async () => {
    const { port, caller } = await listen();
    using client = await RawHttp.open(port);
    await client.send(`POST ${CALL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[1,`);
    using other = await RawHttp.open(port);
    await other.request("GET", "/healthz");
    await other.response();
    client.drop();
    await client.closed;
    await other.request("GET", "/healthz");
    expect((await other.response()).status).toBe(200);
    expect(caller.seen).toEqual([]);
  });
});

describe("a body", () => {
  test("may come in chunks, and slowly", async () => {
    const { port, caller } = await listen();
    using client = await RawHttp.open(port);
    await client.request("POST", CALL, undefined, CHUNKED);
    for (const part of ["[", "1", ",", '"é', '"', "]"]) {
      await client.send(chunk(part));
      await Bun.sleep(5);
    }
    await client.send("0\r\n\r\n");
    expect((await client.response()).status).toBe(200);
    expect(caller.last.input.argsJson).toBe('[1,"é"]');
  });

  test("of 10 MiB goes in and out", async () => {
    const { url, caller } = await listen();
    caller.script = ({ input }) => ({
      kind: "succeeded",
      resultJson: input.argsJson,
      headers: {},
    });
    const body = JSON.stringify(["x".repeat(10 * MIB)]);
    const response = await fetch(`${url}${CALL}`, { method: "POST", body });
    expect(response.status).toBe(200);
    expect(await response.text() === body).toBe(true);
  });

  test("that is announced as too large is refused, and its connection goes on", async () => {
    const { port, caller } = await listen();
    using client = await RawHttp.open(port);
    const size = LIMIT + 1;
    await client.request("POST", CALL, undefined, [`Content-Length: ${size}`]);
    const response = await client.response();
    expect(response.status).toBe(413);
    expect(JSON.parse(response.body)).toMatchObject({ type: "/problems/too-large" });
    const part = new Uint8Array(MIB).fill(32);
    for (let sent = 0; sent < size; sent += part.length) {
      await client.send(part.subarray(0, Math.min(part.length, size - sent)));
    }
    await client.request("POST", CALL, "[]");
    expect((await client.response()).status).toBe(200);
    expect(caller.seen).toHaveLength(1);
  });

  test("that grows too large in chunks is refused, kept nowhere, and its connection goes on", async () => {
    const { port, caller } = await listen();
    using client = await RawHttp.open(port);
    await client.request("POST", CALL, undefined, CHUNKED);
    const part = chunk(" ".repeat(MIB));
    for (let sent = 0; sent < 13; sent++) await client.send(part);
    expect((await client.response()).status).toBe(413);
    const before = process.memoryUsage.rss();
    for (let sent = 0; sent < 300; sent++) await client.send(part);
    await client.send("0\r\n\r\n");
    await client.request("POST", CALL, "[]");
    expect((await client.response()).status).toBe(200);
    expect((process.memoryUsage.rss() - before) / MIB).toBeLessThan(100);
    expect(caller.seen).toHaveLength(1);
  });

  test("that nobody reads is kept nowhere either", async () => {
    const { port } = await listen({ options: { token: "sesame" } });
    using client = await RawHttp.open(port);
    await client.request("POST", CALL, undefined, CHUNKED);
    expect((await client.response()).status).toBe(401);
    const before = process.memoryUsage.rss();
    const part = chunk(" ".repeat(MIB));
    for (let sent = 0; sent < 300; sent++) await client.send(part);
    expect((process.memoryUsage.rss() - before) / MIB).toBeLessThan(100);
    await client.send("0\r\n\r\n");
    await client.request("GET", "/healthz");
    expect((await client.response()).status).toBe(200);
  });

  test("of a read is refused", async () => {
    const { port } = await listen();
    using client = await RawHttp.open(port);
    await client.request("GET", "/tasks", undefined, CHUNKED);
    expect((await client.response()).status).toBe(400);
  });

  test("that is cut into bad chunks costs its connection and nothing else", async () => {
    const { port, caller } = await listen();
    using client = await RawHttp.open(port);
    await client.request("POST", CALL, undefined, CHUNKED);
    await client.send("nonsense\r\n");
    await client.closed;
    using other = await RawHttp.open(port);
    await other.request("POST", CALL, "[]");
    expect((await other.response()).status).toBe(200);
    expect(caller.seen).toHaveLength(1);
  });

  test("is waited for when the client asks first", async () => {
    const { port } = await listen();
    using client = await RawHttp.open(port);
    await client.send(
      `POST ${CALL} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n`,
    );
    expect((await client.response()).status).toBe(100);
    await client.send("[]");
    expect((await client.response()).status).toBe(200);
  });
});

describe("the head of a request", () => {
  test("may leave out Host in HTTP/1.0, whose clients are no browsers", async () => {
    const { port, caller } = await listen();
    using client = await RawHttp.open(port);
    await client.send(`POST ${CALL}?priority=3 HTTP/1.0\r\nContent-Length: 2\r\n\r\n[]`);
    expect((await client.response()).status).toBe(200);
    expect(caller.last).toMatchObject({ task: "t", options: { priority: 3 } });
  });

  test("keeps a task's name as it was written, slashes and all", async () => {
    const { port, caller } = await listen();
    using client = await RawHttp.open(port);
    const name = "wéird/näme?#%2F+ 1";
    await client.request("POST", `/tasks/${encodeURIComponent(name)}/call?priority=1`, "");
    expect((await client.response()).status).toBe(200);
    expect(caller.last).toMatchObject({ task: name, options: { priority: 1 } });
  });

  test("cannot hide a foreign host: in the target, doubled, or unreadable", async () => {
    const { port, caller } = await listen();
    const heads = [
      `POST http://localhost${CALL} HTTP/1.1\r\nHost: evil.example\r\n`,
      `POST ${CALL} HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n`,
      `POST ${CALL} HTTP/1.1\r\nHost: local host<>\r\n`,
      `POST ${CALL} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n`,
    ];
    for (const head of heads) {
      using client = await RawHttp.open(port);
      await client.send(`${head}Content-Length: 2\r\n\r\n[]`);
      expect((await client.response()).status).toBe(403);
    }
    expect(caller.seen).toEqual([]);
  });

  test("may come from curl -d as it is", async () => {
    const { port } = await listen();
    using client = await RawHttp.open(port);
    await client.request("POST", CALL, "[1,2]", [
      "User-Agent: curl/8.0",
      "Accept: */*",
      "Content-Type: application/x-www-form-urlencoded",
    ]);
    const { status, body } = await client.response();
    expect([status, body]).toEqual([200, '"t"']);
  });
});

test("3,000 calls wait at once on one front, and all are answered", async () => {
  const { url, port, caller } = await listen();
  const answer = Promise.withResolvers<void>();
  caller.script = async ({ input }) => {
    await answer.promise;
    return { kind: "succeeded", resultJson: input.argsJson, headers: {} };
  };
  const waiting = callsSeen(caller, 3_000);
  // Not by fetch, which sends 256 requests at once.
  const clients = Promise.all(
    Array.from({ length: 3_000 }, async (_, i) => {
      using client = await RawHttp.open(port);
      await client.request("POST", CALL, `[${i}]`);
      const { status, body } = await client.response();
      return `${status} ${body}`;
    }),
  );
  await waiting;
  expect(caller.pending).toBe(3_000);
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  answer.resolve();
  expect(await clients).toEqual(Array.from({ length: 3_000 }, (_, i) => `200 [${i}]`));
}, 60_000);
