/** Channels of the compiled executable: poll, stream and socket, on both brokers. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sharedRabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { App, runApp, startNode, temporaryFolder, until, within } from "../support/app.ts";
import { EventStream } from "../support/event_stream.ts";

const post = (url: string, body: string, headers: Readonly<Record<string, string>> = {}) =>
  fetch(url, { method: "POST", body, headers });
const numbers = ({ events }: EventStream) =>
  events.filter(({ event }) => event === "message").map(({ data }) => data["message"]);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

/** Says that it is there, and gathers what comes. */
const FOLLOWING_TASKS = `
  import { context, task } from "coxswain";
  task("follow", async (pattern: string, count: number, forMs?: number) => {
    const signal = forMs === undefined ? undefined : AbortSignal.timeout(forMs);
    const messages = context.pubsub.subscribe<number>(pattern, { signal });
    await messages.ready;
    await context.pubsub.publish("followers", pattern);
    const got: number[] = [];
    for await (const { message } of messages) {
      got.push(message);
      if (got.length === count) break;
    }
    return got;
  });
`;
const folder = temporaryFolder();
afterAll(() => folder.remove());

describe.each(["the embedded broker", "RabbitMQ"])("channels on %s", (broker) => {
  let app: App;
  let amqpUrl: string | undefined;
  /** Another front on the same broker; the same one where there can be no other. */
  let other: App;
  const channels = (name: string, query = "") =>
    `${app.url}/channels/${encodeURIComponent(name)}${query}`;

  /** A worker apart from the front, where there can be one. */
  let worker: App | undefined;

  beforeAll(async () => {
    mkdirSync(join(folder.path, "tasks"), { recursive: true });
    writeFileSync(join(folder.path, "tasks", "follow.ts"), FOLLOWING_TASKS);
    const tasks = ["--tasks", join(folder.path, "tasks")];
    if (broker === "RabbitMQ") {
      const { url } = await sharedRabbitMq();
      amqpUrl = url;
      app = await startNode(["all", "--port", "0", "--amqp-url", url]);
      worker = await startNode(["work", "--amqp-url", url, "--no-demo", ...tasks]);
      other = await startNode(["serve", "--port", "0", "--amqp-url", url, "--no-recorder"]);
    } else {
      app = await startNode(["all", "--port", "0", ...tasks]);
      other = app;
    }
  }, 60_000);
  afterAll(async () => {
    await worker?.[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
    await app[Symbol.asyncDispose]();
  });

  test("a request hangs until something is published, wherever that is", async () => {
    const polled = fetch(channels("news"));
    await Bun.sleep(100);
    const published = await post(`${other.url}/channels/news`, '{"a":1}');
    expect(published.status).toBe(202);
    const { id } = await published.json();
    const response = await within(polled, "the answer of the poll");
    expect(response.status).toBe(200);
    const told = await response.json();
    expect(told).toMatchObject([
      { id, channel: "news", message: { a: 1 }, at: expect.any(String) },
    ]);
    expect(response.headers.get("cox-after")).toBe(told[0].after ?? id);
  });

  test("a task publishes too", async () => {
    const polled = fetch(channels("test"));
    await Bun.sleep(100);
    expect((await app.call("publish", [{ from: "a task" }])).status).toBe(200);
    expect(await (await within(polled, "the poll")).json()).toMatchObject([
      { message: { from: "a task" } },
    ]);
  });

  test("a task follows channels while it runs", async () => {
    await using told = await EventStream.open(channels("followers"));
    const call = app.call("follow", ["follow.*", 20], "?timeout=20s");
    await told.come(1);
    for (let i = 0; i < 20; i++) await post(channels("follow.x"), `${i}`);
    expect(await (await call).json()).toEqual(upTo(20));
    // What it left is gone: the next one hears nothing of it, and its signal ends its loop.
    const second = app.call("follow", ["follow.*", 1, 200]);
    expect(await (await second).json()).toEqual([]);
    const refused = await app.call("follow", ["", 1]);
    expect((await refused.json()).error).toMatchObject({ type: "BadName" });
  }, 30_000);

  test("nothing that is published between two polls is lost", async () => {
    const empty = await fetch(channels("steps", "?wait=10ms"));
    expect(empty.status).toBe(204);
    let after = empty.headers.get("cox-after") ?? "";
    const got: unknown[] = [];
    let next = 0;
    while (got.length < 50) {
      for (let i = 0; i < 5 && next < 50; i++) await post(channels("steps"), `${next++}`);
      const response = await fetch(channels("steps", `?after=${after}&limit=3`));
      if (response.status === 204) continue;
      for (const { message } of await response.json()) got.push(message);
      after = response.headers.get("cox-after") ?? "";
    }
    expect(got).toEqual(upTo(50));
  });

  test("nothing is lost between polls of two fronts in turn, while both publish", async () => {
    const fronts = [app, other];
    // A front that has just started cannot know of what it does not know.
    let after = "";
    for (const [one, another] of [[other, app], [app, other]] as const) {
      await until(async () => {
        after = (await (await post(`${one.url}/channels/turns`, '"first"')).json()).id;
        const url = `${another.url}/channels/turns?wait=0s&after=${after}`;
        return (await fetch(url)).status === 204;
      }, "fronts to know each other");
    }
    const published = Promise.all(fronts.map(async (front, index) => {
      for (let i = 0; i < 200; i++) {
        await post(`${front.url}/channels/turns`, JSON.stringify(`${index}.${i}`));
      }
    }));
    const got = new Set<string>();
    for (let turn = 0; got.size < 400; turn++) {
      const url = `${fronts[turn % 2]?.url}/channels/turns?limit=7&after=${after}`;
      const response = await fetch(url);
      if (response.status !== 200) throw new Error(`${response.status} after ${got.size}`);
      for (const { gap, message } of await response.json()) {
        expect(gap).toBeUndefined();
        got.add(message);
      }
      after = response.headers.get("cox-after") ?? "";
    }
    await published;
  }, 60_000);

  test("a stream goes on after the id that it saw last, on another front too", async () => {
    await using first = await EventStream.open(channels("stream.#"));
    await using witness = await EventStream.open(`${other.url}/channels/stream.%23`);
    for (let i = 0; i < 10; i++) await post(channels("stream.a"), `${i}`);
    const seen = (await first.come(10))[4];
    await witness.come(10);
    for (const node of new Set([app, other])) {
      await using again = await EventStream.open(`${node.url}/channels/stream.%23`, {
        "last-event-id": seen?.id ?? "",
      });
      if (node === app) await post(channels("stream.b"), "10");
      const got = (await again.come(6)).map(({ event, data }) => [event, data["message"]]);
      expect(got).toEqual([...[5, 6, 7, 8, 9].map((n) => ["message", n]), ["message", 10]]);
    }
  });

  test("a WebSocket is told the same", async () => {
    const socket = new WebSocket(channels("socket.*").replace("http", "ws"), "coxswain.channels");
    const told: { message: unknown }[] = [];
    const enough = Promise.withResolvers<void>();
    socket.onmessage = ({ data }) => {
      told.push(JSON.parse(String(data)));
      if (told.length === 20) enough.resolve();
    };
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("no socket"));
    });
    expect(socket.protocol).toBe("coxswain.channels");
    for (let i = 0; i < 20; i++) await post(channels("socket.x"), `${i}`);
    await within(enough.promise, "twenty messages");
    expect(told.map(({ message }) => message)).toEqual(upTo(20));
    const closed = new Promise<number>((resolve) => socket.onclose = ({ code }) => resolve(code));
    socket.send("what is this?");
    expect(await within(closed, "the end of the socket")).toBe(1003);
  });

  test("the command line follows channels, and publishes on them", async () => {
    const targets = [
      ["--url", app.url],
      ...(amqpUrl === undefined ? [] : [["--amqp-url", amqpUrl]]),
    ];
    for (const target of targets) {
      // Each has a client of its own, of which nobody is told when it is there: it hears one of many.
      const name = `cli.${target[0]}`;
      const heard = runApp(["subscribe", "cli.*", "--count", "2", "--json", ...target]);
      let isOver = false;
      void heard.finally(() => isOver = true);
      for (let i = 0; !isOver; i++) {
        const { code } = await runApp(["publish", name, `{"n":${i}}`, ...target]);
        expect(code).toBe(0);
      }
      const { code, output } = await heard;
      const lines = output.trim().split("\n").map((line) => JSON.parse(line));
      expect(code).toBe(0);
      expect(lines.map(({ channel }) => channel)).toEqual([name, name]);
      expect(lines[1].message.n).toBe(lines[0].message.n + 1);
    }
  }, 60_000);

  test(
    "a command line that follows ends well by Ctrl-C, and says where there is no front",
    async () => {
      await using subscriber = new App(["subscribe", "life", "--url", app.url]);
      for (let i = 0; !subscriber.output.includes("life"); i++) {
        await post(channels("life"), `${i}`);
      }
      subscriber.signal("SIGINT");
      expect(await subscriber.exited()).toBe(0);
      expect(subscriber.log).toBe("");
      const { code, log } = await runApp(["subscribe", "life", "--url", "http://127.0.0.1:1"]);
      expect(code).toBe(3);
      expect(log).toContain("Cannot reach a front");
    },
    60_000,
  );

  test("texts and other bytes arrive as what they are", async () => {
    await using stream = await EventStream.open(channels("kinds"));
    await post(channels("kinds"), "plain words", { "content-type": "text/plain" });
    await post(channels("kinds"), "\u00ff\u0000", { "content-type": "application/octet-stream" });
    await post(channels("kinds"), '{\n "multi": "line\\n"}');
    expect((await stream.come(3)).map(({ data }) => data["message"])).toMatchObject([
      "plain words",
      expect.anything(),
      { multi: "line\n" },
    ]);
  });

  test("what makes no sense is refused", async () => {
    for (const name of ["orders.*", "#", ""]) {
      expect((await post(channels(name), "1")).status).toBeGreaterThanOrEqual(400);
    }
    expect((await post(channels("x"), "{nonsense", { "content-type": "application/json" })).status)
      .toBe(400);
    for (const query of ["?wait=soon", "?wait=1h", "?limit=0", "?limit=9999", "?nonsense=1"]) {
      expect((await fetch(channels("x", query))).status).toBe(400);
    }
    const stranger = await fetch(channels("x"), {
      headers: { upgrade: "websocket", connection: "upgrade", origin: "http://evil.example" },
    });
    expect(stranger.status).toBe(403);
  });

  test("many subscribers each get every message, in order, whatever one of them does", async () => {
    const streams = await Promise.all(
      upTo(100).map(() => EventStream.open(channels("crowd"))),
    );
    // This one asks, and then never reads.
    const deaf = connect(Number(new URL(app.url).port), "127.0.0.1");
    deaf.pause();
    deaf.write(
      "GET /channels/crowd HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n",
    );
    const text = "x".repeat(1_000);
    for (let i = 0; i < 300; i += 20) {
      await Promise.all(
        upTo(20).map((n) => post(channels("crowd"), JSON.stringify(`${i + n} ${text}`))),
      );
    }
    for (const stream of streams) await stream.come(300);
    const first = (streams[0]?.events ?? []).map(({ id }) => id);
    expect(new Set(first).size).toBe(300);
    for (const stream of streams) {
      expect(stream.events.map(({ id }) => id)).toEqual(first);
      expect(stream.events.every(({ event }) => event === "message")).toBe(true);
    }
    deaf.destroy();
    await Promise.all(streams.map((stream) => stream[Symbol.asyncDispose]()));
  }, 60_000);
});

describe("a front", () => {
  test("tells who does not read what it missed, and its memory stays bounded", async () => {
    await using app = await startNode(["all", "--port", "0", "--replay-bytes", "1MiB"]);
    const url = `${app.url}/channels/flood`;
    const slow = connect(Number(new URL(app.url).port), "127.0.0.1");
    slow.pause();
    slow.write(
      `GET /channels/flood HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n`,
    );
    await using quick = await EventStream.open(url);
    const rssMiB = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${app.pid}/status`, "utf8"))?.[1]) / 1024;
    const text = JSON.stringify("x".repeat(200_000));
    for (let i = 0; i < 20; i++) await post(url, text);
    const before = rssMiB();
    for (let i = 0; i < 780; i++) await post(url, text);
    await quick.come(800);
    expect(quick.events.every(({ event }) => event === "message")).toBe(true);
    // 160 MB were published, and each is there as bytes, text and frame: without a bound it shows.
    expect(rssMiB() - before).toBeLessThan(150);
    let read = "";
    const gap = Promise.withResolvers<void>();
    slow.on("data", (data) => {
      read += data.toString();
      if (read.includes("event: gap")) gap.resolve();
      // What is left may be the beginning of it.
      read = read.slice(-20);
    });
    slow.resume();
    await within(gap.promise, "the gap to be told");
    slow.destroy();
  }, 60_000);

  test("ends its streams when it stops, and is not held up by them", async () => {
    await using app = await startNode(["all", "--port", "0", "--max-subscribers", "3"]);
    await using stream = await EventStream.open(`${app.url}/channels/x`);
    const polled = fetch(`${app.url}/channels/x`);
    const socket = new WebSocket(`${app.url.replace("http", "ws")}/channels/x`);
    await new Promise((resolve) => socket.onopen = resolve);
    const closed = new Promise<number>((resolve) => socket.onclose = ({ code }) => resolve(code));
    await until(
      async () => (await fetch(`${app.url}/channels/x?wait=0s`)).status === 503,
      "all three to have come",
    );
    const before = performance.now();
    app.signal("SIGTERM");
    expect((await polled).status).toBe(204);
    await stream.ended();
    expect(await closed).toBe(1001);
    expect(await app.exited()).toBe(0);
    expect(performance.now() - before).toBeLessThan(5_000);
  });

  test("lets nobody subscribe without its token; a WebSocket brings it as a subprotocol", async () => {
    await using app = await startNode([
      "all",
      "--port",
      "0",
      "--read-token",
      "s3cret",
      "--token",
      "t",
    ]);
    expect((await fetch(`${app.url}/channels/x`)).status).toBe(401);
    const url = `${app.url.replace("http", "ws")}/channels/x`;
    const open = (protocols: string[]) =>
      new Promise<string>((resolve) => {
        const socket = new WebSocket(url, protocols);
        socket.onopen = () => {
          resolve(`open ${socket.protocol}`);
          socket.close();
        };
        socket.onerror = () => resolve("refused");
      });
    const token = `coxswain.bearer.${Buffer.from("s3cret").toString("base64url")}`;
    expect(await open(["coxswain.channels"])).toBe("refused");
    expect(await open(["coxswain.channels", "coxswain.bearer.bm8"])).toBe("refused");
    expect(await open(["coxswain.channels", token])).toBe("open coxswain.channels");
    expect(app.log).not.toContain("s3cret");
  });

  test("takes no more subscribers than it may", async () => {
    await using app = await startNode(["all", "--port", "0", "--max-subscribers", "2"]);
    await using _first = await EventStream.open(`${app.url}/channels/x`);
    await using second = await EventStream.open(`${app.url}/channels/x`);
    const third = await fetch(`${app.url}/channels/x`);
    expect(third.status).toBe(503);
    expect((await third.json()).type).toEndWith("too-many-subscribers");
    await second[Symbol.asyncDispose]();
    await until(
      async () => (await fetch(`${app.url}/channels/x?wait=1ms`)).status === 204,
      "the room of who left",
    );
  });

  test("keeps its subscribers while the broker is away, and tells the gap", async () => {
    const rabbit = await startRabbitMq();
    await using stack = new AsyncDisposableStack();
    stack.defer(() => rabbit.dispose());
    await using app = await startNode(["all", "--port", "0", "--amqp-url", rabbit.url]);
    await using stream = await EventStream.open(`${app.url}/channels/x`);
    expect((await post(`${app.url}/channels/x`, "1")).status).toBe(202);
    await stream.come(1);
    await rabbit.stop();
    await until(
      async () => (await post(`${app.url}/channels/x`, "2")).status === 503,
      "the front to notice",
    );
    await rabbit.start();
    // What is published before the front hears again is in the gap too.
    await until(async () => {
      await (await post(`${app.url}/channels/x`, "3")).body?.cancel();
      return numbers(stream).includes(3);
    }, "the stream to go on");
    expect(stream.events.filter(({ event }) => event === "gap").map(({ data }) => data["gap"]))
      .toContain("broker_away");
  }, 90_000);
});
