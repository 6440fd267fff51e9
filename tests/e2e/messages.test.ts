/** Exchanges and consumers as applications use them: the executable on the broker inside it and on RabbitMQ. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AMQPClient } from "@cloudamqp/amqp-client";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const TASKS = `
import { appendFileSync } from "node:fs";
import { consume, context, exchanges, Reject, task } from "coxswain";

// Each line of the file is what one handler has to tell.
const tell = (what, more) => appendFileSync(process.env.NOTES, JSON.stringify({ what, ...more }) + "\\n");

// One exchange, two queues: the one processes, the other logs.
consume({ queue: "shop.process", exchange: "shop", keys: "order.#" }, (order, { routingKey }) => {
  tell("processed", { order, routingKey });
});
consume({ queue: "shop.log", exchange: "shop", keys: "#" }, (order) => tell("logged", { order }));

consume({ queue: "hangs", timeout: "300ms", retry: { limit: 1, base: "50ms" } }, () => {
  tell("hangs", { attempt: context.attempt });
  while (true);
});
consume({ queue: "throws", retry: { limit: 2, base: "100ms" } }, () => {
  tell("throws", { attempt: context.attempt, at: Date.now() });
  throw new TypeError("not today");
});
consume({ queue: "poison" }, () => {
  tell("poison", { redelivered: context.redelivered });
  process.exit(9);
});
consume({ queue: "slow" }, async ({ n }) => {
  tell("slow begins", { n, redelivered: context.redelivered, node: context.node });
  if (!context.redelivered) await new Promise((resolve) => setTimeout(resolve, 30_000));
  tell("slow ends", { n, node: context.node });
});
consume(
  { queue: "any", exchange: "any.headers", type: "headers", arguments: { color: "red" }, prefetch: 1 },
  (body, envelope, properties) => {
    tell("any", { body: body instanceof Uint8Array ? [...body] : body, envelope, properties });
  });

task("publish", async (exchange, message, options) => {
  await exchanges.publish(exchange, message, options);
});
task("declare", async (name, type) => await exchanges.declare(name, { type }));
`;

interface Note {
  readonly what: string;
  readonly [more: string]: unknown;
}

/** What the handlers of one stage tell. */
class Notes {
  readonly path: string;
  readonly home: string;

  constructor(name: string) {
    this.home = join(folder.path, name);
    mkdirSync(this.home);
    this.path = join(this.home, "notes");
    writeFileSync(join(this.home, "tasks.ts"), TASKS);
    writeFileSync(
      join(this.home, "coxswain.json"),
      JSON.stringify({ exchanges: { shop: "topic" } }),
    );
  }

  all(what: string): readonly Note[] {
    if (!existsSync(this.path)) return [];
    return readFileSync(this.path, "utf8").split("\n").filter((line) => line !== "")
      .map((line): Note => JSON.parse(line))
      .filter((note) => note.what === what);
  }

  async count(what: string, count: number): Promise<readonly Note[]> {
    await until(() => this.all(what).length >= count, `${count} times "${what}"`);
    return this.all(what);
  }

  start(args: readonly string[]): Promise<App> {
    return startNode(args, { cwd: this.home, env: { NOTES: this.path } });
  }
}

const publish = (front: App, path: string, body: string, headers: Record<string, string> = {}) =>
  fetch(`${front.url}/exchanges/${path}`, { method: "POST", body, headers });

interface Listed {
  readonly queue: string;
  readonly messages: number | null;
  readonly isPaused: boolean;
  readonly nodes: readonly string[];
}

async function queue(front: App, name: string): Promise<Listed | undefined> {
  const list: readonly Listed[] = await (await fetch(`${front.url}/queues`)).json();
  return list.find((one) => one.queue === name);
}

const deadLetters = async (front: App) => (await queue(front, "cox.dead-letters"))?.messages ?? 0;

/** Dead letters stay in their queue, where they can be counted. */
const UNRECORDED = ["--no-recorder"];

/** What holds on either broker. */
function stories(stage: () => { readonly front: App; readonly notes: Notes }): void {
  test("each message of one exchange reaches both of its queues once", async () => {
    const { front, notes } = stage();
    for (let n = 0; n < 20; n++) {
      const response = await publish(front, `shop?key=order.${n}.paid`, JSON.stringify({ n }));
      expect(await response.json()).toMatchObject({ isRouted: true });
    }
    await publish(front, "shop?key=visit", '{"n":"visit"}');
    await notes.count("processed", 20);
    await notes.count("logged", 21);
    const orders = (what: string) =>
      notes.all(what).map(({ order }) => JSON.stringify(order)).sort();
    const expected = Array.from({ length: 20 }, (_, n) => JSON.stringify({ n }));
    expect(orders("processed")).toEqual([...expected].sort());
    expect(orders("logged")).toEqual([...expected, '{"n":"visit"}'].sort());
    await until(async () => (await queue(front, "shop.log"))?.messages === 0, "an empty queue");
    expect(notes.all("processed")).toHaveLength(20);
  });

  test("a task and the command line publish too", async () => {
    const { front, notes } = stage();
    const before = notes.all("processed").length;
    const call = await front.call("publish", ["shop", { by: "task" }, { key: "order.t" }]);
    expect(call.status).toBe(200);
    const words = ["--url", front.url, "--exchange", "shop", "--key", "order.c", '{"by":"cli"}'];
    expect((await runApp(["publish", ...words])).code).toBe(0);
    const notesOf = (await notes.count("processed", before + 2)).slice(before);
    expect(notesOf.map(({ order }) => order)).toEqual([{ by: "task" }, { by: "cli" }]);
  });

  test("an exchange is declared while running, by a task and over HTTP", async () => {
    const { front } = stage();
    expect((await publish(front, "fresh.one", "x")).status).toBe(404);
    expect((await front.call("declare", ["fresh.one", "fanout"])).status).toBe(200);
    expect((await publish(front, "fresh.one", "x")).status).toBe(200);
    expect((await publish(front, "fresh.two?type=direct", "x")).status).toBe(200);
    expect((await publish(front, "fresh.two?type=topic", "x")).status).toBe(409);
    const declared = await front.call("declare", ["fresh.two", "topic"]);
    expect(await declared.json()).toMatchObject({ error: { type: "ExchangeMismatch" } });
  });

  test("empty and reserved names are refused with 400, whoever publishes", async () => {
    const { front } = stage();
    for (const name of ["", "%20", "cox.nodes", "celery", "celeryev", "amq.topic", "reply.x"]) {
      expect((await publish(front, name, "x")).status).toBe(400);
      const action = await fetch(`${front.url}/queues/${name}/pause`, { method: "POST" });
      // A task queue may be Celery's own; here there is none.
      expect(action.status).toBe(name === "celery" ? 404 : 400);
    }
    const call = await front.call("publish", ["cox.nodes", "x"]);
    expect(await call.json()).toMatchObject({ error: { type: "BadName" } });
    const { code, log } = await runApp(["publish", "--url", front.url, "--exchange", "amq.x", "x"]);
    expect([code, log]).toEqual([2, expect.stringContaining("is reserved")]);
  });

  test("a handler that hangs is killed, tried again and given up", async () => {
    const { front, notes } = stage();
    const before = await deadLetters(front);
    await send(front, "hangs");
    const attempts = await notes.count("hangs", 2);
    expect(attempts.map(({ attempt }) => attempt)).toEqual([1, 2]);
    await until(async () => await deadLetters(front) === before + 1, "a dead letter");
    expect((await queue(front, "hangs"))?.messages).toBe(0);
    expect((await front.call("math.add", [1, 2])).status).toBe(200);
  });

  test("a handler that throws is tried again after growing pauses", async () => {
    const { front, notes } = stage();
    const before = await deadLetters(front);
    await send(front, "throws");
    const at = (await notes.count("throws", 3)).map((note) => Number(note["at"]));
    const [first = 0, second = 0, third = 0] = at;
    expect(second - first).toBeGreaterThanOrEqual(100);
    expect(third - second).toBeGreaterThanOrEqual(200);
    await until(async () => await deadLetters(front) === before + 1, "a dead letter");
    expect(notes.all("throws")).toHaveLength(3);
  });

  test("a message that kills its process three times is given up", async () => {
    const { front, notes } = stage();
    const before = await deadLetters(front);
    await send(front, "poison");
    const runs = await notes.count("poison", 3);
    expect(runs.map(({ redelivered }) => redelivered)).toEqual([false, true, true]);
    await until(async () => await deadLetters(front) === before + 1, "a dead letter");
    expect(notes.all("poison")).toHaveLength(3);
  });

  test("a paused queue keeps its messages until it is resumed, or purged", async () => {
    const { front, notes } = stage();
    const run = async (...words: string[]) =>
      (await runApp(["queues", "--url", front.url, ...words])).output;
    const before = notes.all("logged").length;
    expect(await run("pause", "shop.log")).toContain("is paused");
    await until(async () => {
      const listed = (await (await fetch(`${front.url}/queues`)).json()) as readonly {
        queue: string;
        consumers: number;
      }[];
      return listed.find((one) => one.queue === "shop.log")?.consumers === 0;
    }, "no consumer");
    await publish(front, "shop?key=p", '{"p":1}');
    expect(await queue(front, "shop.log")).toMatchObject({ messages: 1, isPaused: true });
    expect(await run()).toMatch(/shop\.log +shop: # +1 +0 .*paused/);
    expect(await run("purge", "shop.log")).toContain("1 messages were removed");
    await publish(front, "shop?key=p", '{"p":2}');
    expect(await run("resume", "shop.log")).toContain("is resumed");
    const logged = (await notes.count("logged", before + 1)).slice(before);
    expect(logged.map(({ order }) => order)).toEqual([{ p: 2 }]);
  });
}

/** Sends a message to a queue by its name: with an exchange of its own, as applications do. */
async function send(front: App, name: string, body = "{}"): Promise<void> {
  const sent = await senders.get(front)?.(name, body);
  if (sent === undefined) throw new Error("nobody sends here");
}
const senders = new Map<App, (queue: string, body: string) => Promise<true>>();

describe("with the broker inside", () => {
  const notes = new Notes("inside");
  let front: App;

  beforeAll(async () => {
    // The default exchange is nobody's to publish to: each queue is bound to one of the test's.
    const bound = ["hangs", "throws", "poison"].reduce(
      (source, name) =>
        source.replace(
          `queue: "${name}"`,
          `queue: "${name}", exchange: "to", type: "direct", keys: "${name}"`,
        ),
      TASKS,
    );
    writeFileSync(join(notes.home, "tasks.ts"), bound);
    front = await notes.start(["all", "--port", "0", "--tasks", "tasks.ts", ...UNRECORDED]);
    senders.set(front, async (name, body) => {
      expect((await publish(front, `to?key=${name}`, body)).status).toBe(200);
      return true;
    });
  }, 60_000);
  afterAll(() => front[Symbol.asyncDispose]());

  stories(() => ({ front, notes }));

  test("messages and pauses outlive a restart", async () => {
    const pause = (action: string) =>
      fetch(`${front.url}/queues/shop.process/${action}`, { method: "POST" });
    const before = notes.all("processed").length;
    expect((await pause("pause")).status).toBe(200);
    await until(async () => {
      const listed = await (await fetch(`${front.url}/readyz`)).json();
      return listed.worker.consumers.find((one: Listed) => one.queue === "shop.process").isPaused;
    }, "the pause");
    await publish(front, "shop?key=order.kept", '{"kept":true}');
    front.signal("SIGTERM");
    expect(await front.exited()).toBe(0);
    front = await notes.start(["all", "--port", "0", "--tasks", "tasks.ts", ...UNRECORDED]);
    expect(await queue(front, "shop.process")).toMatchObject({ messages: 1, isPaused: true });
    expect((await fetch(`${front.url}/readyz`)).status).toBe(200);
    expect(notes.all("processed")).toHaveLength(before);
    expect((await pause("resume")).status).toBe(200);
    const kept = (await notes.count("processed", before + 1)).slice(before);
    expect(kept.map(({ order }) => order)).toEqual([{ kept: true }]);
  });
});

describe("over RabbitMQ", () => {
  const notes = new Notes("outside");
  let rabbit: RabbitMq;
  let front: App;
  let worker: App;
  const work = (...args: string[]) =>
    notes.start(["work", "--amqp-url", rabbit.url, "--tasks", "tasks.ts", ...args]);

  /** A plain AMQP client, as another application is. */
  async function plain() {
    const connection = await new AMQPClient(rabbit.url).connect();
    const channel = await connection.channel();
    return { channel, [Symbol.asyncDispose]: () => connection.close() };
  }

  beforeAll(async () => {
    rabbit = await startRabbitMq();
    front = await notes.start(["serve", "--port", "0", "--amqp-url", rabbit.url, ...UNRECORDED]);
    worker = await work("--node-id", "worker-1");
    senders.set(front, async (name, body) => {
      await using wire = await plain();
      await wire.channel.confirmSelect();
      await wire.channel.basicPublish("", name, body, { deliveryMode: 2 });
      return true;
    });
  }, 60_000);
  afterAll(async () => {
    await front[Symbol.asyncDispose]();
    await worker[Symbol.asyncDispose]();
    await rabbit.dispose();
  }, 60_000);

  stories(() => ({ front, notes }));

  test("a stranger's messages arrive as they were sent", async () => {
    await using wire = await plain();
    const headers = { color: "red", n: 7 };
    const timestamp = new Date("2026-01-02T03:04:05Z");
    await wire.channel.basicPublish("any.headers", "k", '{"a":1}', {
      contentType: "application/json",
      headers,
      timestamp,
      messageId: "m",
      appId: "stranger",
    });
    await wire.channel.basicPublish("any.headers", "", "plain text", { headers });
    await wire.channel.basicPublish("any.headers", "", new Uint8Array([0xff, 1]), { headers });
    await wire.channel.basicPublish("any.headers", "", "not this", { headers: { color: "blue" } });
    const seen = await notes.count("any", 3);
    expect(seen[0]).toMatchObject({
      body: { a: 1 },
      envelope: { exchange: "any.headers", routingKey: "k", queue: "any", redelivered: false },
      properties: {
        contentType: "application/json",
        headers,
        timestamp: timestamp.toISOString(),
        messageId: "m",
        appId: "stranger",
      },
    });
    expect(seen.map(({ body }) => body)).toEqual([{ a: 1 }, "plain text", [0xff, 1]]);
  });

  test("what a killed worker had is handled by another, marked", async () => {
    for (const n of [1, 2]) await send(front, "slow", JSON.stringify({ n }));
    await notes.count("slow begins", 1);
    worker.signal("SIGKILL");
    await worker.exited();
    worker = await work("--node-id", "worker-2");
    await notes.count("slow ends", 2);
    const ends = notes.all("slow ends").map(({ n }) => n).sort();
    expect(ends).toEqual([1, 2]);
    const again = notes.all("slow begins").filter(({ redelivered }) => redelivered === true);
    expect(again.map(({ node }) => node)).toEqual(again.map(() => "worker-2"));
    expect(again.length).toBeGreaterThanOrEqual(1);
    await until(async () => (await queue(front, "slow"))?.messages === 0, "an empty queue");
  });

  test("a pause reaches every worker, and one that starts later", async () => {
    await using second = await work("--node-id", "worker-3");
    const consumers = async () => {
      await using wire = await plain();
      const { consumerCount } = await wire.channel.queueDeclare("shop.process", { passive: true });
      return consumerCount;
    };
    await until(async () => await consumers() === 2, "two consumers");
    const act = (action: string) =>
      runApp(["queues", "--amqp-url", rabbit.url, action, "shop.process"]);
    expect((await act("pause")).code).toBe(0);
    await until(async () => await consumers() === 0, "no consumers");
    await using third = await work("--node-id", "worker-4");
    expect(await consumers()).toBe(0);
    expect((await act("resume")).code).toBe(0);
    await until(async () => await consumers() === 3, "three consumers");
    expect([second.isRunning, third.isRunning]).toEqual([true, true]);
  });

  test("a command past any front publishes, and tells what is missing", async () => {
    const before = notes.all("processed").length;
    const run = (...words: string[]) => runApp(["publish", "--amqp-url", rabbit.url, ...words]);
    const sent = await run("--exchange", "shop", "--key", "order.x", "--json", '{"past":1}');
    expect(sent).toMatchObject({ code: 0, output: expect.stringContaining('"isRouted":true') });
    const notesOf = (await notes.count("processed", before + 1)).slice(before);
    expect(notesOf.map(({ order }) => order)).toEqual([{ past: 1 }]);
    expect(await run("--exchange", "nowhere", "x")).toMatchObject({
      code: 2,
      log: expect.stringContaining('There is no exchange "nowhere"'),
    });
  });

  test("nothing is lost while RabbitMQ is away", async () => {
    const before = notes.all("throws").length;
    const letters = await deadLetters(front);
    await send(front, "throws");
    await notes.count("throws", before + 1);
    await rabbit.stop();
    await until(async () => (await publish(front, "shop", "x")).status === 503, "503");
    expect((await fetch(`${front.url}/queues`)).status).toBe(503);
    await rabbit.start();
    await until(async () => {
      const response = await publish(front, "shop?key=order.after", '{"after":1}');
      return response.status === 200;
    }, "a front that publishes again");
    await until(() =>
      notes.all("processed").some(({ order }) => {
        return JSON.stringify(order) === '{"after":1}';
      }), "the message after it");
    await until(async () => await deadLetters(front) === letters + 1, "the dead letter");
    await until(async () => (await queue(front, "throws"))?.messages === 0, "an empty queue");
  }, 90_000);
});

describe("a start", () => {
  const start = async (files: Record<string, string>, ...args: string[]) => {
    const home = temporaryFolder();
    try {
      for (const [name, content] of Object.entries(files)) {
        writeFileSync(join(home.path, name), content);
      }
      return await runApp(["all", "--port", "0", "--log-format", "json", ...args], {
        cwd: home.path,
      });
    } finally {
      home.remove();
    }
  };

  test("is refused with all that is wrong with the exchanges", async () => {
    const exchanges = { "": "topic", "cox.x": "topic", a: "topik", b: { durable: 1 } };
    const { code, log } = await start({ "coxswain.json": JSON.stringify({ exchanges }) });
    expect(code).toBe(2);
    for (const part of ['exchanges[""]', 'exchanges["cox.x"]', "exchanges.a", "exchanges.b.type"]) {
      expect(log).toContain(part);
    }
  });

  test("is refused where a consumer's exchange is missing, and says what to do", async () => {
    const { code, log } = await start(
      {
        "t.ts": `import { consume } from "coxswain";
        consume({ queue: "q", exchange: "nowhere" }, () => {});`,
      },
      "--tasks",
      "t.ts",
    );
    expect(code).toBe(2);
    expect(log).toContain('is there no exchange \\"nowhere\\"? Give consume() its type');
  });

  test("is refused where a queue is a task's and a consumer's", async () => {
    const { code, log } = await start(
      {
        "t.ts": `import { consume, task } from "coxswain";
        consume({ queue: "both" }, () => {});
        task("t", { queue: "both" }, () => 1);`,
      },
      "--tasks",
      "t.ts",
    );
    expect(code).toBe(2);
    expect(log).toContain("a queue is for the one or the other");
  });

  test("is refused where a direct exchange of the settings is bound without keys", async () => {
    const { code, log } = await start(
      {
        "coxswain.json": '{"exchanges": {"d": "direct"}}',
        "t.ts": `import { consume } from "coxswain";
        consume({ queue: "q", exchange: "d" }, () => {});`,
      },
      "--tasks",
      "t.ts",
    );
    expect(code).toBe(2);
    expect(log).toContain("which has no key that means all");
  });
});
