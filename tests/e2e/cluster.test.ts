/** `./app serve` and `./app work` from two folders, with a real RabbitMQ between them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { AMQPClient } from "@cloudamqp/amqp-client";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, startNode, temporaryFolder, until, within } from "../support/app.ts";

let rabbit: RabbitMq;
const folder = temporaryFolder();

beforeAll(async () => {
  rabbit = await startRabbitMq();
}, 60_000);
afterAll(async () => {
  await rabbit.dispose();
  folder.remove();
}, 60_000);

/** A folder with one task file. */
function tasks(name: string, source: string): string {
  const path = join(folder.path, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "tasks.ts"), `import { context, task } from "coxswain";\n${source}`);
  return path;
}

const serve = (...args: string[]) =>
  startNode(["serve", "--port", "0", "--amqp-url", rabbit.url, ...args]);
const work = (...args: string[]) => startNode(["work", "--amqp-url", rabbit.url, ...args]);

/** Waits until the front knows a task. */
async function known(front: App, task: string): Promise<void> {
  await until(async () => {
    const list: { name: string }[] = await (await fetch(`${front.url}/tasks`)).json();
    return list.some(({ name }) => name === task);
  }, `the front to know ${task}`);
}

async function type(response: Response): Promise<string> {
  const { type } = await response.json();
  return type.split("/").at(-1);
}

/** A plain AMQP connection beside ours. */
async function plain() {
  const connection = await new AMQPClient(rabbit.url).connect();
  const channel = await connection.channel();
  return { channel, [Symbol.asyncDispose]: () => connection.close() };
}

describe("a front and a worker", () => {
  let front: App;
  let worker: App;

  beforeAll(async () => {
    const path = tasks(
      "basic",
      `task("who", { queue: "basic" }, () => context.node);
       task("again", { queue: "basic" }, () => [context.redelivered, context.attempt]);
       task("length", { queue: "basic" }, (text: string) => text.length);`,
    );
    // Dead letters stay in their queue.
    front = await serve("--no-recorder");
    worker = await work("--tasks", path, "--node-id", "worker-1");
    await known(front, "who");
  }, 60_000);
  afterAll(async () => {
    await front[Symbol.asyncDispose]();
    await worker[Symbol.asyncDispose]();
  });

  test("answer a call over the broker", async () => {
    expect(await (await front.call("math.add", [1, 2])).text()).toBe("3");
    expect(await (await front.call("who", [])).json()).toBe("worker-1");
  });

  test("carry 10 MiB there and back", async () => {
    const text = "0123456789abcdef".repeat(655_360);
    expect(await (await front.call("length", [text])).json()).toBe(text.length);
    const echoed = await front.call("echo", [text]);
    expect((await echoed.text()).length).toBeGreaterThan(text.length);
  });

  test("answer 404 at once for a task that never was", async () => {
    const before = performance.now();
    expect((await front.call("never", [])).status).toBe(404);
    expect(performance.now() - before).toBeLessThan(250);
  });

  test("put what was asked on the wire: delivery mode, priority, expiration, compression", async () => {
    await using wire = await plain();
    await wire.channel.queueDeclare("wire", { durable: true });
    const asked = front.call(
      "math.add",
      ["x".repeat(100_000)],
      "?queue=wire&persistent=true&priority=7&expires=1s",
    );
    const seen = await within(
      (async () => {
        while (true) {
          const message = await wire.channel.basicGet("wire", { noAck: true });
          if (message !== null) return message;
          await Bun.sleep(20);
        }
      })(),
      "the message",
    );
    expect(seen.properties).toMatchObject({
      deliveryMode: 2,
      priority: 7,
      // The caller looks whether it is still there: the queue may be a Celery worker's.
      expiration: "2500",
      contentType: "application/json",
      headers: { task: "math.add", compression: "application/x-gzip" },
    });
    expect(seen.bodySize).toBeLessThan(5_000);
    // Somebody took it, and no worker has it: a Celery worker's task that gives no result, for all the
    // caller knows.
    expect((await asked).status).toBe(502);
  });

  test("answer garbage on the queue, and go on", async () => {
    await using wire = await plain();
    const replies = await wire.channel.queueDeclare("");
    const purged = await wire.channel.queuePurge("cox.dead-letters");
    expect(purged.messageCount).toBeGreaterThanOrEqual(0);
    const headers = { task: "who", id: "g-1" };
    const garbage: [string, Parameters<typeof wire.channel.basicPublish>[3]][] = [
      ["gASVCAAAAA==", { contentType: "application/x-python-serialize", headers }],
      ["{nonsense", { contentType: "application/json", headers }],
      ["[[],{}]", { contentType: "application/json", headers }],
      ["[[],{},{}]", { headers }],
      ["[[],{},{}]", { contentType: "application/json", headers: { task: "who" } }],
      ["[[Infinity],{},{}]", { contentType: "application/json", headers }],
      ["not zlib", {
        contentType: "application/json",
        headers: { ...headers, compression: "application/x-gzip" },
      }],
    ];
    const answers = new Map<string, string>();
    await wire.channel.basicConsume(replies.name, { noAck: true }, (message) => {
      answers.set(message.properties.correlationId ?? "", message.bodyString() ?? "");
    });
    for (const [index, [body, properties]] of garbage.entries()) {
      await wire.channel.basicPublish("", "basic", body, {
        ...properties,
        correlationId: `c-${index}`,
        replyTo: replies.name,
      });
    }
    await until(() => answers.size === garbage.length, "an answer to each");
    for (const answer of answers.values()) expect(answer).toContain('"status":"FAILURE"');
    const { messageCount } = await wire.channel.queueDeclare("cox.dead-letters", { passive: true });
    expect(messageCount).toBe(garbage.length);
    const letter = await wire.channel.basicGet("cox.dead-letters", { noAck: true });
    expect(letter?.properties.headers?.["cox-dead-reason"]).toContain("python-serialize");
    expect(await (await front.call("who", [])).json()).toBe("worker-1");
  });

  test("answer a body that inflates beyond the limit", async () => {
    await using wire = await plain();
    const replies = await wire.channel.queueDeclare("");
    const answered = Promise.withResolvers<string>();
    await wire.channel.basicConsume(replies.name, { noAck: true }, (message) => {
      answered.resolve(message.bodyString() ?? "");
    });
    await wire.channel.basicPublish("", "basic", deflateSync(Buffer.alloc(64 * 2 ** 20, 32)), {
      contentType: "application/json",
      headers: { task: "who", id: "bomb", compression: "application/x-gzip" },
      correlationId: "bomb",
      replyTo: replies.name,
    });
    expect(await within(answered.promise, "an answer")).toContain("larger than");
    expect(await (await front.call("who", [])).json()).toBe("worker-1");
  });

  test("consume again within 5 s of the queue being deleted under the worker", async () => {
    await using wire = await plain();
    await wire.channel.queueDelete("basic");
    const before = performance.now();
    await until(
      async () => (await front.call("who", [], "?expires=1s")).status === 200,
      "the first success",
      5_000,
    );
    expect(performance.now() - before).toBeLessThan(5_000);
  });

  test("stop a running attempt and refuse a waiting one when the client goes away", async () => {
    await using busy = await work(
      "--tasks",
      tasks(
        "busy",
        `task("mark", { queue: "busy" }, async (file: string, ms: number) => {
           const { appendFileSync } = await import("node:fs");
           appendFileSync(file, "started ");
           await new Promise((resolve) => setTimeout(resolve, ms));
           appendFileSync(file, "ended ");
         });`,
      ),
      ...["--isolates", "1", "--look-ahead", "0", "--no-demo"],
    );
    await known(front, "mark");
    const marks = (name: string) => join(folder.path, name);
    const read = async (name: string) =>
      await Bun.file(marks(name)).exists() ? await Bun.file(marks(name)).text() : "";
    const gone = new AbortController();
    const call = (name: string, ms: number) =>
      front.call("mark", [marks(name), ms], "", { signal: gone.signal }).catch(() => undefined);
    const running = call("running", 60_000);
    await until(async () => (await read("running")) !== "", "the first to run");
    const waiting = call("waiting", 10);
    await until(async () => {
      await using wire = await plain();
      return (await wire.channel.queueDeclare("busy", { passive: true })).messageCount === 1;
    }, "the second to wait");
    gone.abort();
    await Promise.all([running, waiting]);
    expect((await front.call("mark", [marks("after"), 1])).status).toBe(200);
    expect(await read("running")).toBe("started ");
    expect(await read("waiting")).toBe("");
    expect(busy.isRunning).toBe(true);
  });
});

test("the higher priority is next behind a running call", async () => {
  await using front = await serve();
  await using worker = await work(
    "--tasks",
    tasks(
      "order",
      `const order: string[] = [];
       task("order", { queue: "order" }, async (name: string, ms: number) => {
         order.push(name);
         await new Promise((resolve) => setTimeout(resolve, ms));
         return order;
       });`,
    ),
    ...["--isolates", "1", "--look-ahead", "0", "--no-demo"],
  );
  await known(front, "order");
  const depth = async () => {
    await using wire = await plain();
    return (await wire.channel.queueDeclare("order", { passive: true })).messageCount;
  };
  const first = front.call("order", ["first", 1_500]);
  const low = Array.from({ length: 100 }, (_, n) => front.call("order", [`low-${n}`, 0]));
  await until(async () => (await depth()) === 100, "100 calls to wait");
  const high = front.call("order", ["high", 0], "?priority=9");
  const order: string[] = await (await high).json();
  expect(order).toEqual(["first", "high"]);
  await Promise.all([first, ...low]);
  expect(worker.isRunning).toBe(true);
}, 30_000);

test("workers gone: 503 expired on time, also behind a message of another priority", async () => {
  await using front = await serve();
  {
    await using worker = await work(
      "--tasks",
      tasks("gone", `task("gone", { queue: "gone" }, () => 1);`),
      "--no-demo",
    );
    await known(front, "gone");
    worker.signal("SIGTERM");
    expect(await worker.exited()).toBe(0);
  }
  const timed = async (query: string) => {
    const before = performance.now();
    const response = await front.call("gone", [], query);
    return { status: response.status, type: await type(response), ms: performance.now() - before };
  };
  const long = timed("?expires=4s&priority=9");
  const short = await timed("?expires=1s");
  expect(short).toMatchObject({ status: 503, type: "expired" });
  expect(short.ms).toBeGreaterThan(1_000);
  expect(short.ms).toBeLessThan(2_500);
  expect(await long).toMatchObject({ status: 503, type: "expired" });
}, 30_000);

test("two workers with disjoint tasks on one queue: each call finds its worker", async () => {
  await using front = await serve();
  const one = tasks("one", `task("one", { queue: "shared" }, () => 1);`);
  const two = tasks("two", `task("two", { queue: "shared" }, () => 2);`);
  await using first = await work("--tasks", one, "--no-demo");
  await using second = await work("--tasks", two, "--no-demo");
  await known(front, "one");
  await known(front, "two");
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const response = await front.call(n % 2 === 0 ? "one" : "two", []);
      return await response.json();
    }),
  );
  expect(answers).toEqual(Array.from({ length: 200 }, (_, n) => n % 2 + 1));
  expect([first.isRunning, second.isRunning]).toEqual([true, true]);
}, 60_000);

test(
  "a task that its worker has lost is given on, and then answered as not registered",
  async () => {
    await using front = await serve();
    await using worker = await work(
      "--tasks",
      tasks("some", `task("some", { queue: "some" }, () => 1);`),
    );
    await known(front, "some");
    const response = await front.call("absent", [], "?queue=some&expires=20s");
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ error: { type: "NotRegistered" } });
    expect(worker.isRunning).toBe(true);
  },
  30_000,
);

describe("a worker that is killed", () => {
  const path = () =>
    tasks(
      "killed",
      `task("slow", { queue: "killed" }, async (ms: number) => {
         if (!context.redelivered) await new Promise((resolve) => setTimeout(resolve, ms));
         return [context.node, context.redelivered];
       });
       task("killer", { queue: "killed" }, () => process.kill(process.pid, "SIGKILL"));`,
    );

  test("leaves its call to another one, marked redelivered", async () => {
    await using front = await serve();
    await using first = await work("--tasks", path(), "--no-demo", "--node-id", "first");
    await known(front, "slow");
    const call = front.call("slow", [60_000], "?persistent=true");
    await until(async () => {
      await using wire = await plain();
      const { messageCount } = await wire.channel.queueDeclare("killed", { passive: true });
      return messageCount === 0 && front.isRunning;
    }, "the call to be taken");
    await Bun.sleep(300);
    await using second = await work("--tasks", path(), "--no-demo", "--node-id", "second");
    first.signal("SIGKILL");
    const response = await call;
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual(["second", true]);
    expect(second.isRunning).toBe(true);
  }, 60_000);

  test("costs no more than one worker where the call itself is what kills", async () => {
    await using front = await serve();
    await using first = await work("--tasks", path(), "--no-demo");
    await using second = await work("--tasks", path(), "--no-demo");
    await known(front, "killer");
    const response = await front.call("killer", []);
    expect(response.status).toBe(502);
    expect(await type(response)).toBe("worker-lost");
    expect([first.isRunning, second.isRunning].filter(Boolean)).toHaveLength(1);
    expect((await front.call("slow", [1])).status).toBe(200);
  }, 60_000);
});

test(
  "broker stopped: 503 with Retry-After at once; back: the first success within 5 s",
  async () => {
    const own = await startRabbitMq();
    try {
      const url = ["--amqp-url", own.url];
      await using front = await startNode(["serve", "--port", "0", ...url]);
      await using worker = await startNode(["work", ...url]);
      await known(front, "math.add");
      const waiting = front.call("sleep", [60]);
      await until(async () => (await front.call("math.add", [1, 1])).status === 200, "a success");
      await own.stop();
      expect([502]).toContain((await waiting).status);
      const before = performance.now();
      const refused = await front.call("math.add", [1, 2]);
      expect(performance.now() - before).toBeLessThan(250);
      expect(refused.status).toBe(503);
      expect(refused.headers.get("retry-after")).toMatch(/^\d+$/);
      expect(await type(refused)).toBe("broker-away");
      expect((await fetch(`${front.url}/healthz`)).status).toBe(200);
      expect((await fetch(`${front.url}/readyz`)).status).toBe(503);
      await own.start();
      await until(
        async () => (await front.call("math.add", [1, 2], "?expires=1s")).status === 200,
        "the first success",
        5_000,
      );
      expect([front.isRunning, worker.isRunning]).toEqual([true, true]);
    } finally {
      await own.stop();
    }
  },
  90_000,
);

test("a worker that is told to stop gives back what it has not started", async () => {
  await using front = await serve();
  const path = tasks(
    "handover",
    `task("handover", { queue: "handover" }, async (ms: number) => {
       await new Promise((resolve) => setTimeout(resolve, ms));
       return context.node;
     });`,
  );
  await using first = await work(
    "--tasks",
    path,
    "--no-demo",
    "--isolates",
    "1",
    "--look-ahead",
    "8",
  );
  await known(front, "handover");
  const calls = Array.from({ length: 6 }, () => front.call("handover", [1_000]));
  await until(async () => {
    await using wire = await plain();
    return (await wire.channel.queueDeclare("handover", { passive: true })).messageCount === 0;
  }, "the worker to hold all");
  await using second = await work("--tasks", path, "--no-demo", "--isolates", "6");
  first.signal("SIGTERM");
  expect(await first.exited()).toBe(0);
  const answers = await Promise.all(calls.map(async (call) => (await call).status));
  expect(answers).toEqual(Array.from({ length: 6 }, () => 200));
  expect(second.isRunning).toBe(true);
}, 60_000);

test("a dead letter finds its queue again after somebody has deleted it", async () => {
  await using worker = await work(
    "--tasks",
    tasks("buried", `task("buried", { queue: "buried" }, () => 1);`),
    "--no-demo",
  );
  await using wire = await plain();
  await wire.channel.queueDelete("cox.dead-letters");
  await wire.channel.basicPublish("", "buried", "{nonsense", {
    contentType: "application/json",
    headers: { task: "buried", id: "b-1" },
  });
  await until(async () => {
    await using other = await plain();
    const found = await other.channel.queueDeclare("cox.dead-letters", { passive: true })
      .catch(() => ({ messageCount: 0 }));
    return found.messageCount === 1;
  }, "the dead letter");
  expect(worker.isRunning).toBe(true);
}, 30_000);
