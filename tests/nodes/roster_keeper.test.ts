/** The roster's keeper over a real broker: what it hears, asks, tells and publishes. */
import { describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { NODES_EXCHANGE, PUBSUB_EXCHANGE } from "../../src/broker/topology.ts";
import { type Beacon, encodeBeacon } from "../../src/heartbeat/beacon.ts";
import { decodeAnnouncement, encodeAnnouncement } from "../../src/nodes/announcement.ts";
import { NodesChannel } from "../../src/nodes/nodes_channel.ts";
import { RosterKeeper } from "../../src/nodes/roster_keeper.ts";
import type { TaskDescriptor } from "../../src/tasks/descriptor.ts";
import { DataFolder } from "../broker/embedded/data_folder.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { until } from "../support/waiting.ts";

const task = (name: string): TaskDescriptor => ({
  name,
  file: "t.ts",
  queue: "q",
  timeoutMs: 1_000,
  isolation: "worker",
});

const beacon = (node: string, changes: Partial<Beacon> = {}): Beacon => ({
  node,
  role: "work",
  version: "1",
  startedAt: "2030-01-01T00:00:00.000Z",
  uptimeMs: 0,
  intervalMs: 2_000,
  count: 0,
  load: {
    running: 0,
    waiting: 0,
    isolates: 1,
    stuckIsolates: 0,
    consumers: [],
    memoryBytes: 1,
  },
  tasks: [],
  ...changes,
});

/** A front, with what it says to others and how others speak to it. */
class Scene implements AsyncDisposable {
  readonly folder: DataFolder;
  readonly clock: FakeClock;
  readonly broker: Broker;
  readonly nodes: NodesChannel;
  readonly keeper: RosterKeeper;
  /** Kind and node of each event. */
  readonly told: string[] = [];
  /** On `cox.nodes`, by anybody. */
  readonly announced: unknown[] = [];
  /** On channels: routing key and message. */
  readonly published: [string, unknown][] = [];
  readonly #closing: (() => Promise<void>)[] = [];

  private constructor(folder: DataFolder, broker: Broker, publishes: boolean) {
    this.folder = folder;
    this.broker = broker;
    const clock = this.clock = new FakeClock();
    const nodes = this.nodes = new NodesChannel({ broker, node: "front", clock });
    const options = { broker, nodes, node: "front", exchange: "Heartbeat", publishes, clock };
    this.keeper = new RosterKeeper(options);
  }

  static async open(publishes = true): Promise<Scene> {
    const folder = new DataFolder();
    const broker = await folder.connect();
    const scene = new Scene(folder, broker, publishes);
    await broker.declareExchange(NODES_EXCHANGE);
    await broker.declareExchange(PUBSUB_EXCHANGE);
    await scene.#hear(NODES_EXCHANGE.name, "", ({ body }) => {
      scene.announced.push(decodeAnnouncement(body));
    });
    await scene.#hear(PUBSUB_EXCHANGE.name, "nodes.#", ({ routingKey, body }) => {
      scene.published.push([routingKey, JSON.parse(new TextDecoder().decode(body))]);
    });
    scene.keeper.watch(({ kind, node }) => scene.told.push(`${kind} ${node.id}`));
    await scene.keeper.start();
    await scene.nodes.start();
    return scene;
  }

  async beacon(node: string, changes: Partial<Beacon> = {}): Promise<void> {
    await this.#publish("Heartbeat", encodeBeacon(beacon(node, changes)));
  }

  async announce(...given: Parameters<typeof encodeAnnouncement>): Promise<void> {
    await this.#publish(NODES_EXCHANGE.name, encodeAnnouncement(...given));
  }

  async garbage(exchange: string): Promise<void> {
    await this.#publish(exchange, new TextEncoder().encode("{garbage"));
  }

  state(node: string): string | undefined {
    return this.keeper.list().find(({ id }) => id === node)?.state;
  }

  /** Lets time pass as for a process that is not held up. */
  pass(ms: number): void {
    for (let passed = 0; passed < ms; passed += 500) this.clock.advance(500);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.nodes.stop();
    await this.keeper.stop();
    for (const close of this.#closing) await close();
    await this.folder[Symbol.asyncDispose]();
  }

  async #hear(
    exchange: string,
    routingKey: string,
    take: (message: { routingKey: string; body: Uint8Array }) => void,
  ): Promise<void> {
    const queue = await this.broker.openPrivateQueue({
      prefix: "ears",
      bindings: [{ exchange, routingKey }],
    });
    const loop = (async () => {
      for await (const { message } of queue) take(message);
    })();
    this.#closing.push(async () => {
      await queue.close();
      await loop;
    });
  }

  async #publish(exchange: string, body: Uint8Array): Promise<void> {
    await this.broker.publish({ exchange, routingKey: "", properties: {}, body }, {
      confirm: true,
    });
  }
}

describe("the roster's keeper", () => {
  test("tells late, gone and back in time, to listeners and on channels", async () => {
    await using scene = await Scene.open();
    await scene.beacon("w");
    await until("it joined", () => scene.told.includes("joined w"));
    scene.pass(4_500);
    expect(scene.state("w")).toBe("alive");
    scene.pass(1_000);
    expect(scene.state("w")).toBe("late");
    scene.pass(3_000);
    expect(scene.state("w")).toBe("late");
    scene.pass(1_000);
    expect(scene.state("w")).toBe("gone");
    await scene.beacon("w");
    await until("it is back", () => scene.state("w") === "alive");
    const all = ["joined", "late", "gone", "back"];
    expect(scene.told).toEqual(all.map((kind) => `${kind} w`));
    await until("all is published", () => scene.published.length === all.length);
    expect(scene.published.map(([channel]) => channel)).toEqual(all.map((kind) => `nodes.${kind}`));
    expect(scene.published[2]?.[1]).toEqual({
      event: "gone",
      node: "w",
      kind: "coxswain",
      role: "work",
      version: "1",
      startedAt: "2030-01-01T00:00:00.000Z",
      at: "2030-01-01T00:00:09.000Z",
      seenBy: "front",
    });
  });

  test("takes the tasks of who is gone out of the directory, and asks for them when it is back", async () => {
    await using scene = await Scene.open();
    const serving = { type: "serving", node: "w", tasks: [task("t")] } as const;
    await scene.announce({ ...serving, tasks: [...serving.tasks] });
    await scene.beacon("w", { tasks: ["t"] });
    await until(
      "both are heard",
      () => scene.state("w") === "alive" && scene.nodes.find("t") !== undefined,
    );
    expect(scene.nodes.find("t")?.nodes).toEqual(["w"]);
    scene.pass(10_000);
    expect(scene.nodes.find("t")).toMatchObject({ queue: "q", nodes: [] });
    const asking = { type: "asking", node: "front", whom: "w" };
    expect(scene.announced).not.toContainEqual(asking);
    await scene.beacon("w", { tasks: ["t"] });
    await until("it is asked", () => scene.announced.some((one) => Bun.deepEquals(one, asking)));
    await scene.announce({ ...serving, tasks: [...serving.tasks] });
    await until("it serves again", () => scene.nodes.find("t")?.nodes[0] === "w");
  });

  test("asks a node that it knows by a beacon alone, and not at each beacon", async () => {
    await using scene = await Scene.open();
    const asked = () =>
      scene.announced.filter((one) =>
        Bun.deepEquals(one, {
          type: "asking",
          node: "front",
          whom: "unheard",
        })
      ).length;
    for (let times = 1; times <= 7; times++) {
      await scene.beacon("unheard", { tasks: ["t"], count: times });
      await until("it is heard", () => scene.keeper.list()[0]?.count === times);
      scene.pass(2_000);
    }
    await until("it is asked", () => asked() === 2);
    expect(scene.told).toEqual(["joined unheard"]);
  });

  test("hears who is there, who sends no beacons, and who leaves", async () => {
    await using scene = await Scene.open();
    await scene.announce({ type: "present", ...beacon("quiet", { intervalMs: 0 }) });
    await until("it is known", () => scene.state("quiet") === "unknown");
    scene.pass(60_000);
    expect(scene.state("quiet")).toBe("unknown");
    await scene.announce({ type: "leaving", node: "quiet" });
    await until("it has left", () => scene.state("quiet") === "left");
    expect(scene.told).toEqual(["joined quiet", "left quiet"]);
  });

  test("goes on after garbage on either exchange", async () => {
    await using scene = await Scene.open();
    await scene.garbage("Heartbeat");
    await scene.garbage(NODES_EXCHANGE.name);
    await scene.beacon("w");
    await until("it is heard", () => scene.state("w") === "alive");
  });

  test("blames nobody for the time in which this process was held up", async () => {
    await using scene = await Scene.open();
    await scene.beacon("w");
    await until("it is heard", () => scene.state("w") === "alive");
    const { clock } = scene;
    const monotonic = clock.monotonic.bind(clock);
    clock.monotonic = () => monotonic() + 60_000;
    scene.pass(3_000);
    expect(scene.state("w")).toBe("alive");
    scene.pass(3_000);
    expect(scene.state("w")).toBe("late");
  });

  test("that only looks publishes nothing", async () => {
    await using scene = await Scene.open(false);
    await scene.beacon("w");
    await until("it is heard", () => scene.told.length === 1);
    await scene.beacon("v");
    await until("another is heard", () => scene.told.length === 2);
    expect(scene.published).toEqual([]);
  });

  test("stops before it starts, and twice", async () => {
    await using folder = new DataFolder();
    const broker = await folder.connect();
    const nodes = new NodesChannel({ broker, node: "front" });
    const options = { broker, nodes, node: "front", exchange: "Heartbeat", publishes: true };
    const keeper = new RosterKeeper(options);
    await keeper.stop();
    await keeper.start();
    await keeper.stop();
    await keeper.stop();
    await nodes.stop();
  });
});

describe("a node's channel", () => {
  test("introduces a node that joined when it is asked, by all or by name, and says goodbye", async () => {
    await using scene = await Scene.open();
    const channel = new NodesChannel({ broker: scene.broker, node: "w" });
    await channel.start();
    let asked = 0;
    await channel.join({ introduction: beacon("w"), asked: () => asked++ });
    await channel.serve([task("t")]);
    await until("it is known", () => scene.nodes.find("t")?.nodes[0] === "w");
    expect(scene.state("w")).toBe("alive");
    const before = asked;
    await scene.announce({ type: "asking", node: "x", whom: "other" });
    await scene.announce({ type: "asking", node: "x", whom: "w" });
    await until("it has answered", () => asked === before + 1);
    const tell = (type: string) =>
      scene.announced.filter((one) => (one as { type?: string })?.type === type).length;
    await until("it has told twice", () => tell("present") >= 2 && tell("serving") >= 2);
    await channel.stop();
    await until("it has left", () => scene.state("w") === "left");
    expect(scene.nodes.find("t")?.nodes).toEqual([]);
    expect(tell("leaving")).toBe(1);
  });
});
