import { describe, expect, test } from "bun:test";
import { HttpServer, ListenError } from "../../src/platform/http_server.ts";
import { RawHttp } from "../support/raw_http.ts";

const local = { host: "127.0.0.1", port: 0 };
const hello = () => new Response("hello");

describe("HttpServer.start()", () => {
  test("listens on a free port and says where", async () => {
    const server = new HttpServer({ ...local, handler: hello });
    await server.start();
    expect(server.url).toBe(`http://127.0.0.1:${server.port}`);
    expect(await (await fetch(server.url)).text()).toBe("hello");
    await server.stop();
  });

  test("listens on an IPv6 address", async () => {
    const server = new HttpServer({ host: "::1", port: 0, handler: hello });
    await server.start();
    expect(server.url).toBe(`http://[::1]:${server.port}`);
    expect(await (await fetch(server.url)).text()).toBe("hello");
    await server.stop();
  });

  test("says that a port is taken", async () => {
    const first = new HttpServer({ ...local, handler: hello });
    await first.start();
    const second = new HttpServer({ ...local, port: first.port, handler: hello });
    await expect(second.start()).rejects.toThrow(
      new ListenError(
        `Cannot listen on 127.0.0.1 port ${first.port}: the port is taken by another program`,
      ),
    );
    await second.stop();
    await first.stop();
  });

  test("says that an address is not this machine's", async () => {
    const server = new HttpServer({ host: "192.0.2.1", port: 0, handler: hello });
    await expect(server.start()).rejects.toThrow("no such address");
  });
});

describe("HttpServer.stop()", () => {
  test("does nothing before the start, and may come twice", async () => {
    const server = new HttpServer({ ...local, handler: hello });
    await server.stop();
    await server.start();
    await Promise.all([server.stop(), server.stop()]);
    await expect(fetch(server.url)).rejects.toThrow();
  });

  test("closes kept connections, refuses new ones and waits for answers", async () => {
    const answer = Promise.withResolvers<Response>();
    const asked = Promise.withResolvers<void>();
    const server = new HttpServer({
      ...local,
      handler: (request) => {
        if (request.url.endsWith("/quick")) return hello();
        asked.resolve();
        return answer.promise;
      },
    });
    await server.start();
    using kept = await RawHttp.open(server.port);
    await kept.request("GET", "/quick");
    await kept.response();
    // As a browser opens one in advance: it must not hold the stop up.
    using _unused = await RawHttp.open(server.port);
    using busy = await RawHttp.open(server.port);
    await busy.request("GET", "/");
    await asked.promise;
    expect(server.pending).toBe(1);

    let isStopped = false;
    const stopped = server.stop().then(() => {
      isStopped = true;
    });
    await kept.closed;
    await expect(RawHttp.open(server.port)).rejects.toThrow();
    expect([isStopped, busy.isClosed]).toEqual([false, false]);
    answer.resolve(new Response("late"));
    expect((await busy.response()).body).toBe("late");
    await Promise.all([stopped, busy.closed]);
  });

  test("cuts off what still waits when the signal aborts", async () => {
    const asked = Promise.withResolvers<void>();
    const cut = Promise.withResolvers<void>();
    const server = new HttpServer({
      ...local,
      handler: (request) => {
        request.signal.addEventListener("abort", () => cut.resolve());
        asked.resolve();
        return new Promise(() => {});
      },
    });
    await server.start();
    using busy = await RawHttp.open(server.port);
    await busy.request("GET", "/");
    await asked.promise;
    const grace = new AbortController();
    const stopped = server.stop(grace.signal);
    grace.abort();
    await Promise.all([stopped, busy.closed, cut.promise]);
  });
});

describe("a client that goes away", () => {
  /** Tells each request's path as it comes, and again with "gone" when its signal aborts. */
  async function watched() {
    const told = Promise.withResolvers<string>();
    const log: string[] = [];
    let wanted = "";
    const tell = (what: string) => {
      log.push(what);
      if (what === wanted) told.resolve(what);
    };
    const server = new HttpServer({
      ...local,
      handler: async (request) => {
        const { pathname } = new URL(request.url);
        await request.text();
        request.signal.addEventListener("abort", () => tell(`${pathname} gone`));
        tell(pathname);
        return pathname === "/wait" ? await new Promise<Response>(() => {}) : hello();
      },
    });
    await server.start();
    const until = (what: string) => {
      wanted = what;
      if (log.includes(what)) told.resolve(what);
      return told.promise;
    };
    return { server, log, until };
  }

  test("aborts its request's signal, also of a second request on a kept connection", async () => {
    const { server, log, until } = await watched();
    using client = await RawHttp.open(server.port);
    await client.request("POST", "/first", "[]");
    expect((await client.response()).body).toBe("hello");
    await client.request("POST", "/wait", "[]");
    while (!log.includes("/wait")) await Bun.sleep(1);
    client.drop();
    await until("/wait gone");
    expect(log).toEqual(["/first", "/wait", "/wait gone"]);
    await server.stop(AbortSignal.abort());
  });

  test("is noticed when it is a fetch that was aborted", async () => {
    const { server, log, until } = await watched();
    const gone = new AbortController();
    const answer = fetch(`${server.url}/wait`, { method: "POST", body: "x", signal: gone.signal });
    while (!log.includes("/wait")) await Bun.sleep(1);
    gone.abort();
    await expect(answer).rejects.toThrow();
    await until("/wait gone");
    await server.stop(AbortSignal.abort());
  });
});

test("silence closes a connection unless its answer takes its time on purpose", async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  const server = new HttpServer({
    ...local,
    idleTimeoutMs: 1_000,
    handler: async (request, connection) => {
      await request.text();
      connection.holdOpen(request);
      asked.resolve();
      await answer.promise;
      connection.release(request);
      return hello();
    },
  });
  await server.start();
  using held = await RawHttp.open(server.port);
  await held.request("POST", "/", "[]");
  await asked.promise;
  // These fall silent after the held one did.
  using unused = await RawHttp.open(server.port);
  using halfHead = await RawHttp.open(server.port);
  await halfHead.send("GET / HTTP/1.1\r\nHos");
  using halfBody = await RawHttp.open(server.port);
  await halfBody.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[1,");
  await Promise.all([unused.closed, halfHead.closed, halfBody.closed]);
  expect(held.isClosed).toBe(false);
  answer.resolve();
  expect((await held.response()).body).toBe("hello");
  await held.closed;
  await server.stop();
}, 60_000);

test("a handler that fails costs its request and nothing else", async () => {
  const server = new HttpServer({
    ...local,
    handler: (request) => {
      if (request.url.endsWith("/bad")) throw new Error("a defect");
      return hello();
    },
  });
  await server.start();
  const failed = await fetch(`${server.url}/bad`);
  expect([failed.status, await failed.text()]).toEqual([500, ""]);
  expect((await fetch(server.url)).status).toBe(200);
  await server.stop();
});
