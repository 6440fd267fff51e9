import { expect, test } from "bun:test";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { RECORDER_QUEUE } from "../../src/broker/topology.ts";
import { type NodeHealth, warnings } from "../../src/http/health.ts";
import { JobEventPublisher } from "../../src/jobs/event_publisher.ts";
import { RecorderWatch } from "../../src/jobs/recorder_watch.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { makeFolder } from "../support/folders.ts";
import { until } from "../support/waiting.ts";

test("a queue of job events that nobody reads shows in health", async () => {
  await using folder = await makeFolder();
  const broker = new EmbeddedBroker({ dataDir: folder.path }).connect();
  await broker.start();
  await JobEventPublisher.declare(broker);
  const clock = new FakeClock();
  const watch = new RecorderWatch(broker, clock);
  await watch.start();
  const health: NodeHealth = {
    node: "n",
    broker: () => broker.state,
    jobEvents: () => watch.status,
  };
  expect(watch.status).toEqual({ readers: 0, waiting: 0 });
  expect(warnings(health)).toEqual([expect.stringContaining("0 messages")]);

  await broker.publish({
    exchange: "",
    routingKey: RECORDER_QUEUE.name,
    properties: {},
    body: new Uint8Array(),
  }, { confirm: true });
  clock.advance(5_000);
  await until("it is seen", () => watch.status?.waiting === 1);
  expect(warnings(health)).toEqual([expect.stringContaining("1 message")]);

  const consumer = await broker.consume(RECORDER_QUEUE.name, { prefetch: 1 });
  clock.advance(5_000);
  await until("it is read", () => watch.status?.readers === 1);
  expect(warnings(health)).toEqual([]);

  await consumer.close();
  await broker.stop();
  clock.advance(5_000);
  await until("nothing is known", () => watch.status === undefined);
  expect(warnings(health)).toEqual([]);
  await watch.stop();
  expect(clock.timers).toBe(0);
});
