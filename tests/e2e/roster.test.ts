/** Two fronts and three workers on RabbitMQ: every front knows every node, and what becomes of it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { AMQPClient } from "@cloudamqp/amqp-client";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, startNode, until } from "../support/app.ts";

let rabbit: RabbitMq;
const apps: App[] = [];

beforeAll(async () => {
  rabbit = await startRabbitMq();
}, 60_000);
afterAll(async () => {
  for (const app of apps) await app[Symbol.asyncDispose]();
  await rabbit.dispose();
}, 60_000);

/** So that each promise takes half its time by default. */
const INTERVAL_MS = 1_000;

async function node(mode: "serve" | "work", id: string): Promise<App> {
  const app = await startNode([
    ...[
      mode,
      ...(mode === "serve" ? ["--port", "0", "--no-recorder"] : []),
      "--amqp-url",
      rabbit.url,
    ],
    ...["--node-id", id, "--heartbeat-broadcast", `${INTERVAL_MS / 1_000}`],
  ]);
  apps.push(app);
  return app;
}

interface Listed {
  readonly id: string;
  readonly role: string;
  readonly state: string;
  readonly tasks?: readonly string[];
}

async function nodesOf(front: App): Promise<readonly Listed[]> {
  return await (await fetch(`${front.url}/nodes`)).json();
}

async function stateOf(front: App, id: string): Promise<string | undefined> {
  return (await nodesOf(front)).find((node) => node.id === id)?.state;
}

/** The nodes that serve a task now, as a front lists them. */
async function servers(front: App, task: string): Promise<readonly string[]> {
  const tasks: { name: string; nodes: string[] }[] = await (await fetch(`${front.url}/tasks`))
    .json();
  return tasks.find(({ name }) => name === task)?.nodes ?? [];
}

/** Waits until all fronts say so; tells the milliseconds from the beginning to the last of them. */
async function allSay(fronts: readonly App[], id: string, state: string): Promise<number> {
  const before = performance.now();
  await Promise.all(
    fronts.map((front) => until(async () => await stateOf(front, id) === state, `${id} ${state}`)),
  );
  return performance.now() - before;
}

describe("two fronts and three workers", () => {
  test("know each other, and who is late, gone, left and back", async () => {
    const connection = await new AMQPClient(rabbit.url).connect();
    const channel = await connection.channel();
    const [first, killed, stopped, paused] = await Promise.all([
      node("serve", "front-1"),
      node("work", "killed"),
      node("work", "stopped"),
      node("work", "paused"),
    ]);
    // One that comes when all the others are there finds them at once.
    const second = await node("serve", "front-2");
    const fronts = [first, second];
    expect((await nodesOf(second)).map(({ id }) => id).sort()).toEqual(
      ["front-1", "front-2", "killed", "paused", "stopped"],
    );
    for (const front of fronts) {
      await until(
        async () => (await nodesOf(front)).every(({ tasks }) => tasks !== undefined),
        "a beacon of each",
      );
      const nodes = await nodesOf(front);
      expect(nodes.map(({ id, role, state }) => `${id} ${role} ${state}`)).toEqual([
        "front-1 serve alive",
        "front-2 serve alive",
        "killed work alive",
        "paused work alive",
        "stopped work alive",
      ]);
      expect(nodes.map(({ tasks }) => tasks?.includes("math.add"))).toEqual([
        ...[false, false, true, true, true],
      ]);
      expect(await servers(front, "math.add")).toEqual(["killed", "paused", "stopped"]);
    }
    const events: string[] = [];
    const queue = await channel.queueDeclare("", { exclusive: true });
    await channel.queueBind(queue.name, "cox.pubsub", "nodes.#");
    await channel.basicConsume(queue.name, { noAck: true }, (message) => {
      const { event, node, seenBy } = JSON.parse(message.bodyString() ?? "");
      expect(message.routingKey).toBe(`nodes.${event}`);
      events.push(`${event} ${node} by ${seenBy}`);
    });

    // kill -9: late when 2 beacons are missing, gone when 4 are.
    killed.signal("SIGKILL");
    const lateMs = await allSay(fronts, "killed", "late");
    expect(lateMs).toBeGreaterThan(INTERVAL_MS);
    expect(lateMs).toBeLessThan(5 * 3 * INTERVAL_MS);
    expect(await servers(first, "math.add")).toContain("killed");
    const goneMs = lateMs + await allSay(fronts, "killed", "gone");
    expect(goneMs).toBeGreaterThan(3 * INTERVAL_MS);
    expect(goneMs).toBeLessThan(5 * 5 * INTERVAL_MS);
    for (const front of fronts) {
      expect(await servers(front, "math.add")).toEqual(["paused", "stopped"]);
    }

    // SIGTERM: it says that it leaves, long before anybody could miss a beacon.
    stopped.signal("SIGTERM");
    const leftMs = await allSay(fronts, "stopped", "left");
    expect(leftMs).toBeLessThan(INTERVAL_MS);
    expect(await stopped.exited()).toBe(0);

    // SIGSTOP and SIGCONT: late, gone, and back with its tasks.
    paused.signal("SIGSTOP");
    await allSay(fronts, "paused", "late");
    await allSay(fronts, "paused", "gone");
    for (const front of fronts) expect(await servers(front, "math.add")).toEqual([]);
    paused.signal("SIGCONT");
    expect(await allSay(fronts, "paused", "alive")).toBeLessThan(5 * INTERVAL_MS);
    for (const front of fronts) {
      await until(
        async () => (await servers(front, "math.add"))[0] === "paused",
        "its tasks to be back",
      );
      expect(await (await front.call("math.add", [1, 2])).text()).toBe("3");
    }

    // A front that leaves says so too.
    second.signal("SIGTERM");
    await allSay([first], "front-2", "left");
    await until(() => events.length >= 12 && events.includes("left front-2 by front-1"), "events");
    for (const front of ["front-1", "front-2"]) {
      const seen = events.filter((event) => event.endsWith(`by ${front}`));
      expect(seen.slice(0, 6).map((event) => event.replace(/ by .*/, ""))).toEqual([
        "late killed",
        "gone killed",
        "left stopped",
        "late paused",
        "gone paused",
        "back paused",
      ]);
    }
    await connection.close();
  }, 120_000);

  test("a broker that is away for longer than a node may be silent makes nobody late", async () => {
    const front = await node("serve", "patient");
    await node("work", "steady");
    await allSay([front], "steady", "alive");
    await rabbit.stop();
    await front.logged(/The broker is away/);
    await Bun.sleep(6 * INTERVAL_MS);
    expect(await stateOf(front, "steady")).toBe("alive");
    await rabbit.start();
    await until(
      async () => (await fetch(`${front.url}/readyz`)).status === 200,
      "the broker to be back",
    );
    await Bun.sleep(3 * INTERVAL_MS);
    expect(await stateOf(front, "steady")).toBe("alive");
    expect(front.log).not.toMatch(/Node \\"steady\\" is (late|gone)/);
    expect(await (await front.call("math.add", [1, 2])).text()).toBe("3");
  }, 120_000);
});
