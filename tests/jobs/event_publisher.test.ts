import { describe, expect, test } from "bun:test";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { RECORDER_QUEUE } from "../../src/broker/topology.ts";
import { JobEventPublisher } from "../../src/jobs/event_publisher.ts";
import { decodeJobEvents, type JobEvent } from "../../src/jobs/job_event.ts";
import { makeFolder } from "../support/folders.ts";

const outcome = (id: string, resultJson = "1"): JobEvent => ({
  id,
  task: "t",
  queue: "q",
  createdAt: 1,
  attempt: 1,
  seq: 1,
  at: 1,
  kind: "outcome",
  outcome: { kind: "succeeded", resultJson },
  settles: true,
});

async function withPublisher(
  run: (publisher: JobEventPublisher, broker: Broker) => Promise<void>,
): Promise<void> {
  await using folder = await makeFolder();
  const broker = new EmbeddedBroker({ dataDir: folder.path }).connect();
  await broker.start();
  await JobEventPublisher.declare(broker);
  await run(new JobEventPublisher({ broker, patienceMs: 100 }), broker);
  await broker.stop();
}

/** Takes what waits in the recorder's queue: ids by message. */
async function taken(broker: Broker): Promise<readonly (readonly string[])[]> {
  const { messages = 0 } = await broker.inspectQueue(RECORDER_QUEUE.name) ?? {};
  const groups: (readonly string[])[] = [];
  if (messages === 0) return groups;
  for await (const delivery of await broker.consume(RECORDER_QUEUE.name, { prefetch: 1_000 })) {
    const decoded = decodeJobEvents(delivery.message.body);
    if (decoded.kind !== "events") throw new Error(decoded.reason);
    groups.push(decoded.events.map(({ id }) => id));
    delivery.ack();
    if (groups.length === messages) break;
  }
  return groups;
}

describe("JobEventPublisher", () => {
  test("publishes a lone event at once, and all that come meanwhile together", async () => {
    await withPublisher(async (publisher, broker) => {
      await publisher.publish(outcome("alone"));
      const ids = Array.from({ length: 500 }, (_, i) => `id-${i}`);
      await Promise.all(ids.map((id) => publisher.publish(outcome(id))));
      const groups = await taken(broker);
      expect(groups[0]).toEqual(["alone"]);
      expect(groups.slice(1).flat().toSorted()).toEqual(ids.toSorted());
      expect(groups.length).toBeLessThan(10);
      for (const group of groups) expect(group.length).toBeLessThanOrEqual(200);
    });
  });

  test("keeps messages small: a large event travels alone", async () => {
    await withPublisher(async (publisher, broker) => {
      const large = JSON.stringify("x".repeat(300_000));
      await Promise.all(["a", "b", "c"].map((id) => publisher.publish(outcome(id, large))));
      expect((await taken(broker)).map(({ length }) => length)).toEqual([1, 1, 1]);
    });
  });

  test("leaves out a result that no record has room for, and tells its size", async () => {
    await withPublisher(async (publisher, broker) => {
      await publisher.publish(outcome("a", JSON.stringify("x".repeat(2 ** 21))));
      for await (const delivery of await broker.consume(RECORDER_QUEUE.name, { prefetch: 1 })) {
        expect(decodeJobEvents(delivery.message.body)).toMatchObject({
          events: [{ outcome: { kind: "succeeded", omittedBytes: 2 ** 21 + 2 } }],
        });
        break;
      }
    });
  });

  test("declares the queue again when it is gone", async () => {
    await withPublisher(async (publisher, broker) => {
      await broker.deleteQueue(RECORDER_QUEUE.name);
      await publisher.publish(outcome("a"));
      expect(await taken(broker)).toEqual([["a"]]);
    });
  });

  test("rejects when the broker stays away, and goes on with what comes later", async () => {
    await withPublisher(async (publisher, broker) => {
      await broker.stop();
      publisher.tell(outcome("lost"));
      await expect(publisher.publish(outcome("a"))).rejects.toThrow();
      await expect(publisher.publish(outcome("b"))).rejects.toThrow();
    });
  });
});
