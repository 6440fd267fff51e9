import { expect, test } from "bun:test";
import { BrokerAwayError } from "../../src/broker/errors.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { RECORDER_QUEUE } from "../../src/broker/topology.ts";
import { RecorderPresence } from "../../src/jobs/recorder_presence.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { makeFolder } from "../support/folders.ts";

test("isThere() tells whether the recorder's queue is read, as of a second ago", async () => {
  await using folder = await makeFolder({});
  const broker = new EmbeddedBroker({ dataDir: folder.path }).connect();
  await broker.start();
  const clock = new FakeClock();
  const presence = new RecorderPresence({ broker, clock });
  expect(await presence.isThere()).toBe(false);

  await broker.declareQueue(RECORDER_QUEUE);
  const consumer = await broker.consume(RECORDER_QUEUE.name, { prefetch: 1 });
  expect(await presence.isThere()).toBe(false);
  await clock.advance(1_000);
  expect(await presence.isThere()).toBe(true);

  await consumer.close();
  await clock.advance(1_000);
  expect(await presence.isThere()).toBe(false);
  await broker.stop();
});

test("isThere() rejects while the broker cannot be asked, and asks again at once", async () => {
  let isAway = true;
  const presence = new RecorderPresence({
    broker: {
      inspectQueue: (name) =>
        isAway
          ? Promise.reject(new BrokerAwayError("away"))
          : Promise.resolve({ name, messages: 0, consumers: 1 }),
    },
  });
  await expect(presence.isThere()).rejects.toThrow(BrokerAwayError);
  isAway = false;
  expect(await presence.isThere()).toBe(true);
});
