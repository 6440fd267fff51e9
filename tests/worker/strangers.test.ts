import { expect, test } from "bun:test";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { CONTROL_EXCHANGE } from "../../src/broker/topology.ts";
import { Strangers } from "../../src/worker/strangers.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { makeFolder } from "../support/folders.ts";
import { until } from "../support/waiting.ts";

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

test("Strangers knows the tasks of Celery's workers, asks once in a while and not ours", async () => {
  await using folder = await makeFolder({});
  const broker = new EmbeddedBroker({ dataDir: `${folder.path}/data` }).connect();
  await broker.start();
  await broker.declareExchange(CONTROL_EXCHANGE);
  const workers = await broker.openPrivateQueue({
    prefix: "workers.",
    bindings: [{ exchange: CONTROL_EXCHANGE.name }],
  });
  const asked: unknown[] = [];
  void (async () => {
    for await (const { message } of workers) {
      const { method, reply_to: to } = JSON.parse(new TextDecoder().decode(message.body));
      asked.push(method);
      const answers = [
        { "celery@one": ["theirs", "limited [rate_limit=10/s]"] },
        { "coxswain@two": ["ours"] },
        ["no", "answer"],
      ];
      for (const answer of answers) {
        await broker.publish({
          exchange: to.exchange,
          routingKey: to.routing_key,
          properties: { contentType: "application/json" },
          body: json(answer),
        });
      }
    }
  })();
  const clock = new FakeClock();
  const strangers = new Strangers({ broker, clock });
  expect(strangers.have("theirs")).toBe(false);
  await until("their tasks are known", () => strangers.have("theirs"));
  expect([strangers.have("limited"), strangers.have("ours"), strangers.have("nobodys")])
    .toEqual([true, false, false]);
  expect(asked).toEqual(["registered"]);

  clock.advance(10_001);
  expect(strangers.have("theirs")).toBe(true);
  await until("they are asked again", () => asked.length === 2);
  await workers.close();
  await broker.stop();
});
