/** The heartbeat of the executable: a minute of beats, beacons for anybody, and what 0 means. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AMQPClient } from "@cloudamqp/amqp-client";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, temporaryFolder, until } from "../support/app.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

/** A folder with one task file. */
function tasks(name: string, source: string): string {
  const path = join(folder.path, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(
    join(path, "tasks.ts"),
    `import { context, heartbeat, task } from "coxswain";
${source}`,
  );
  return path;
}

/** How many log lines have this message. */
function said(app: App, message: string): number {
  return app.log.split("\n").filter((line) => line.includes(`"message":"${message}"`)).length;
}

async function nodesOf(front: App): Promise<Record<string, unknown>[]> {
  return await (await fetch(`${front.url}/nodes`)).json();
}

describe("a minute of the executable", () => {
  test("has 60 beats and no more, whatever callbacks do", async () => {
    const path = tasks(
      "minute",
      `heartbeat.register(() => context.log.info("every second"), "1s");
       heartbeat.register(() => context.log.info("every 5 seconds"), 5_000);
       heartbeat.register(() => { throw new Error("bang"); }, "1s");
       heartbeat.register(() => {
         context.log.info("blocks");
         const end = Date.now() + 3_000;
         while (Date.now() < end) { /* Nothing gets through here. */ }
       }, "10s");
       task("beats", async () => await heartbeat.count);`,
    );
    await using app = await startNode(["all", "--port", "0", "--tasks", path, "--isolates", "4"]);
    const count = async () => Number(await (await app.call("beats", [])).json());
    const [countBefore, before] = [await count(), performance.now()];
    await Bun.sleep(60_000);
    const [counted, passedMs] = [await count() - countBefore, performance.now() - before];
    expect(Math.abs(counted - passedMs / 1_000)).toBeLessThanOrEqual(1);
    expect(counted).toBeGreaterThanOrEqual(59);
    expect(Math.abs(said(app, "every second") - counted)).toBeLessThanOrEqual(3);
    expect(Math.abs(said(app, "every 5 seconds") - 12)).toBeLessThanOrEqual(1);
    expect(said(app, "blocks")).toBeGreaterThanOrEqual(5);
    const failures = app.log.split("\n").filter((line) =>
      line.includes("failed, and is called on")
    );
    expect(failures.length).toBe(1);
    expect(failures[0]).toContain('"callback":"callback-3"');
    expect(failures[0]).toContain("bang");
  }, 90_000);
});

describe("on the embedded broker", () => {
  test("a node lists itself, and its health shows that its heart beats", async () => {
    await using app = await startNode([
      ...["all", "--port", "0", "--node-id", "alone", "--heartbeat-interval", "1"],
    ]);
    await until(async () => Number((await nodesOf(app))[0]?.["count"]) >= 2, "the second beat");
    expect(await nodesOf(app)).toEqual([{
      id: "alone",
      kind: "coxswain",
      role: "all",
      version: expect.any(String),
      state: "alive",
      startedAt: expect.any(String),
      lastBeaconAt: expect.any(String),
      intervalMs: 2_000,
      count: expect.any(Number),
      load: expect.objectContaining({
        running: 0,
        waiting: 0,
        stuckIsolates: 0,
        pendingCalls: 0,
        consumers: [expect.objectContaining({ queue: "demo", isLive: true })],
      }),
      tasks: expect.arrayContaining(["math.add", "sleep"]),
    }]);
    const ready = await (await fetch(`${app.url}/readyz`)).json();
    expect(ready.heartbeat).toMatchObject({ isBeating: true, lastBeaconAt: expect.any(String) });
    await app.logged(/"Beat 2"/);
    const table = await runApp(["nodes", "--url", app.url]);
    expect(table.output).toMatch(/^NODE +KIND +ROLE +STATE .*\nalone +coxswain +all +alive /);
  });
});

describe("over RabbitMQ", () => {
  let rabbit: RabbitMq;

  beforeAll(async () => {
    rabbit = await startRabbitMq();
  }, 60_000);
  afterAll(() => rabbit.dispose(), 60_000);

  const work = (...args: string[]) => startNode(["work", "--amqp-url", rabbit.url, ...args]);
  const serve = (...args: string[]) =>
    startNode(["serve", "--port", "0", "--amqp-url", rabbit.url, ...args]);

  test("a beacon is read by a plain AMQP client, and alive() sends one at once", async () => {
    const connection = await new AMQPClient(rabbit.url).connect();
    const channel = await connection.channel();
    // Declared before any node: the client's own words for what the documentation says it is.
    await channel.exchangeDeclare("Heartbeat", "fanout", { durable: true });
    const queue = await channel.queueDeclare("", { exclusive: true });
    await channel.queueBind(queue.name, "Heartbeat", "");
    const beacons: Record<string, unknown>[] = [];
    await channel.basicConsume(queue.name, { noAck: true }, (message) => {
      expect(message.properties.contentType).toBe("application/json");
      beacons.push(JSON.parse(message.bodyString() ?? ""));
    });
    const path = tasks(
      "beacon",
      `task("tell", { queue: "beacon" }, async () => {
         await heartbeat.alive();
         return await heartbeat.count;
       });`,
    );
    await using worker = await work(
      ...["--tasks", path, "--no-demo", "--node-id", "plain", "--heartbeat-broadcast", "1"],
      ...["--health-port", "0"],
    );
    await until(() => beacons.length >= 3, "three beacons");
    expect(beacons[1]).toEqual({
      node: "plain",
      role: "work",
      version: expect.any(String),
      startedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      uptimeMs: expect.any(Number),
      intervalMs: 1_000,
      count: 1,
      load: {
        running: 0,
        waiting: 0,
        isolates: expect.any(Number),
        stuckIsolates: 0,
        consumers: [expect.objectContaining({ queue: "beacon", isLive: true })],
        memoryBytes: expect.any(Number),
      },
      tasks: ["tell"],
    });
    const health = await (await fetch(`${worker.url}/readyz`)).json();
    expect(health).toMatchObject({
      status: "ready",
      heartbeat: { isBeating: true },
      worker: { consumers: [{ queue: "beacon", isLive: true }] },
    });

    await using quiet = await work(
      ...["--tasks", path, "--no-demo", "--node-id", "quiet", "--heartbeat-broadcast", "0"],
      ...["--queues", "quiet"],
    );
    await using front = await serve("--node-id", "front", "--heartbeat-broadcast", "0");
    await until(async () => (await nodesOf(front)).length === 3, "three nodes");
    const state = async (id: string) =>
      (await nodesOf(front)).find((node) => node["id"] === id)?.["state"];
    expect(await state("plain")).toBe("alive");
    expect(await state("quiet")).toBe("unknown");
    expect(await state("front")).toBe("unknown");
    const count = beacons.filter(({ node }) => node === "plain").length;
    expect((await front.call("tell", [])).status).toBe(200);
    await until(
      () => beacons.filter(({ node }) => node === "plain").length > count,
      "another beacon",
    );
    quiet.signal("SIGTERM");
    await until(async () => await state("quiet") === "left", "the quiet one to leave");
    expect(new Set(beacons.map(({ node }) => node))).toEqual(new Set(["plain"]));
    await connection.close();
  }, 60_000);

  test("nodes and tasks are listed over the broker, past any front", async () => {
    await using _worker = await work("--node-id", "listed", "--heartbeat-exchange", "Elsewhere");
    const over = ["--amqp-url", rabbit.url];
    const nodes = await runApp(["nodes", "--json", ...over, "--heartbeat-exchange", "Elsewhere"]);
    expect(nodes.code).toBe(0);
    expect(JSON.parse(nodes.output)).toMatchObject([
      { id: "listed", role: "work", state: "alive", load: { running: 0 } },
    ]);
    const tasks = await runApp(["tasks", ...over]);
    expect(tasks.output).toMatch(/^math\.add +demo +30s +worker +listed$/m);
  }, 60_000);

  test("an exchange of another kind stops the start with what to do", async () => {
    const connection = await new AMQPClient(rabbit.url).connect();
    const channel = await connection.channel();
    await channel.exchangeDeclare("Other", "direct", { durable: true });
    for (const mode of [["serve", "--port", "0"], ["work"]]) {
      const { code, log } = await runApp([
        ...mode,
        ...["--amqp-url", rabbit.url, "--heartbeat-exchange", "Other", "--log-format", "json"],
      ]);
      expect(code).toBe(2);
      expect(log).toContain("--heartbeat-exchange");
    }
    await connection.close();
  }, 60_000);
});
