/** What nodes tell each other of devices when the connection to the broker comes and goes. */
import { afterAll, expect, test } from "bun:test";
import { sharedRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { DEVICE_STATUS_EXCHANGE } from "../../src/broker/topology.ts";
import { DirectoryKeeper } from "../../src/devices/directory_keeper.ts";
import { Epochs } from "../../src/devices/epochs.ts";
import { decodeTalk } from "../../src/devices/held_message.ts";
import { Stage, urlOf } from "../broker/amqp/scene.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { until } from "../support/waiting.ts";

const stage = new Stage(await sharedRabbitMq());
afterAll(() => stage[Symbol.asyncDispose]());

test("asks and tells anew after each reconnect, whichever connection is back first", async () => {
  const vhost = `keeper-${crypto.randomUUID()}`;
  stage.rabbit.ctl("add_vhost", vhost);
  stage.rabbit.ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*");
  const way = stage.proxy();
  const broker = await stage.connect({ url: `${urlOf(way.port)}/${vhost}` });
  const listener = await stage.connect({ url: `${urlOf(stage.rabbit.port)}/${vhost}` });
  const heard = { asking: 0, held: 0 };
  await listener.declareExchange(DEVICE_STATUS_EXCHANGE);
  const queue = await listener.openPrivateQueue({
    prefix: "heard.",
    bindings: [{ exchange: DEVICE_STATUS_EXCHANGE.name, routingKey: "#" }],
  });
  const listening = (async () => {
    for await (const { message } of queue) {
      const talk = decodeTalk(message.body);
      if (talk !== undefined) heard[talk.type] += 1;
    }
  })();
  const keeper = new DirectoryKeeper({
    broker,
    node: "a",
    nodeStartedAt: new Date().toISOString(),
    epochs: new Epochs(),
    roster: { watch: () => () => {} },
    // What is told every so often is never told.
    clock: new FakeClock(Date.now()),
  });
  keeper.serve({
    rows: () => [["kiln", 1, 1, 1]],
    heardElsewhere: () => {},
    takenForGone: () => {},
  });
  await keeper.start();
  await until("it has asked and told", () => heard.asking > 0 && heard.held > 0);
  let losses = 0;
  broker.watch(({ kind }) => {
    if (kind === "away") losses += 1;
  });
  for (let cut = 1; cut <= 3; cut++) {
    const before = { ...heard };
    await way.cut();
    await until("it was away", () => losses >= cut);
    await until(
      `it has asked and told after cut ${cut}`,
      () => heard.asking > before.asking && heard.held > before.held,
    );
  }
  await keeper.stop();
  await queue.close();
  await listening;
  expect(heard.held).toBeGreaterThanOrEqual(4);
}, 90_000);
