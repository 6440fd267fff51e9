/** What a gateway keeps while RabbitMQ is away, and tells when it is back. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type RabbitMq, sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { createAmqpBroker } from "../../src/broker/amqp/amqp_broker.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { DEVICE_STATUS_EXCHANGE, PUBSUB_EXCHANGE } from "../../src/broker/topology.ts";
import { decodeStatus } from "../../src/devices/device_status.ts";
import { Device } from "../support/device.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { until } from "../support/waiting.ts";
import { DeviceNode } from "./gateway_scene.ts";

const VHOST = "device-outages";
const decoder = new TextDecoder();
const LIMIT_MS = 60_000;

let rabbit: RabbitMq;
let witness: Broker;
/** What a witness heard whose connection stays: "online id", "offline id", and lines. */
const statuses: string[] = [];
const lines: string[] = [];

beforeAll(async () => {
  rabbit = await sharedRabbitMq();
  rabbit.ctl("add_vhost", VHOST);
  rabbit.ctl("set_permissions", "-p", VHOST, "guest", ".*", ".*", ".*");
  witness = createAmqpBroker({ url: `amqp://guest:guest@127.0.0.1:${rabbit.port}/${VHOST}` });
  await witness.start();
  await witness.declareExchange(DEVICE_STATUS_EXCHANGE);
  await witness.declareExchange(PUBSUB_EXCHANGE);
  void listen(DEVICE_STATUS_EXCHANGE.name, "*.*", (body) => {
    const decoded = decodeStatus(body);
    if (decoded.kind === "status") {
      statuses.push(`${decoded.status.change} ${decoded.status.device}`);
    }
  });
  void listen(PUBSUB_EXCHANGE.name, "device.*.line", (body) => lines.push(decoder.decode(body)));
}, LIMIT_MS);
afterAll(() => witness?.stop(), LIMIT_MS);

async function listen(exchange: string, routingKey: string, heard: (body: Uint8Array) => void) {
  const queue = await witness.openPrivateQueue({
    prefix: "witness.",
    bindings: [{ exchange, routingKey }],
  });
  for await (const { message } of queue) heard(message.body);
}

/** A gateway behind a proxy, until the end of the test. */
async function scene() {
  const proxy = new TcpProxy(rabbit.port);
  const broker = createAmqpBroker({
    url: `amqp://guest:guest@127.0.0.1:${proxy.port}/${VHOST}`,
  });
  await broker.start();
  const tokens = [{ id: "*", token: "t" }];
  const node = await DeviceNode.start(broker, "n", { tokens });
  return {
    broker,
    proxy,
    node,
    away: async () => {
      await proxy.refuse();
      await until("the broker is away", () => broker.state.kind === "away");
    },
    back: async () => {
      proxy.accept();
      await until("the broker is back", () => broker.state.kind === "connected");
    },
    [Symbol.asyncDispose]: async () => {
      await node.stop();
      await broker.stop();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

test(
  "the last word of each device, its lines in order, and nothing of who came and went",
  async () => {
    await using stage = await scene();
    using stays = await stage.node.device("stays t\n");
    const leaves = await stage.node.device("leaves t\n");
    await until("both are told", () => statuses.length === 2);
    await stage.away();
    const come = async (id: string) => {
      const device = await Device.connected(stage.node.gateway.port, { first: `${id} t\n` });
      await until("it is here", () => stage.node.gateway.find(id) !== undefined);
      return device;
    };
    using comes = await come("comes");
    const visits = await come("visits");
    const { devices } = stage.node.gateway.status;
    visits.socket.destroy();
    leaves.socket.destroy();
    await until("two have gone", () => stage.node.gateway.status.devices === devices - 2);
    const sent = Array.from({ length: 200 }, (_, index) => `line ${index}`);
    stays.send(`${sent.join("\n")}\n`);
    await until("they wait", () => stage.node.gateway.status.waitingLines === 200);
    expect(await stage.node.devices.send("stays", "x")).toMatchObject({ kind: "broker-away" });
    await stage.back();
    await until("the lines are told", () => lines.length >= 200);
    expect(lines).toEqual(sent);
    await until("the statuses are told", () => statuses.length >= 4);
    expect(statuses.slice(2).sort()).toEqual(["offline leaves", "online comes"]);
    expect(await stage.node.devices.send("comes", "hello")).toMatchObject({ kind: "written" });
    await until("it came", () => comes.lines.includes("hello"));
    expect(stage.node.gateway.status).toMatchObject({ waitingStatuses: 0, lostLines: 0 });
  },
  LIMIT_MS,
);

test("of more lines than it keeps, the oldest are lost, and counted", async () => {
  await using stage = await scene();
  using device = await stage.node.device("talks t\n");
  await stage.away();
  lines.length = 0;
  const all = Array.from({ length: 12_000 }, (_, index) => `${index}`);
  device.send(`${all.join("\n")}\n`);
  await until("some are lost", () => stage.node.gateway.status.lostLines === 2_000);
  expect(stage.node.gateway.status.waitingLines).toBe(10_000);
  await stage.back();
  await until("the rest is told", () => lines.length >= 10_000);
  expect([lines[0], lines.at(-1), lines.length]).toEqual(["2000", "11999", 10_000]);
}, LIMIT_MS);

test("a command that waits for its answer when the connection breaks is told so", async () => {
  await using stage = await scene();
  using device = await stage.node.device("waits t\n");
  const sent = stage.node.devices.send("waits", "and?", { replyMs: 1_500 });
  await until("it came", () => device.lines.includes("and?"));
  await stage.proxy.cut();
  expect(await sent).toMatchObject({ kind: "lost" });
  await until(
    "it works again",
    async () => (await stage.node.devices.send("waits", "again")).kind === "written",
  );
  expect(device.isClosed).toBe(false);
}, LIMIT_MS);
