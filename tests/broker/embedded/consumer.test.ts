/** What this broker knows better than the port asks: what a loop has seen, and whose a queue is. */
import { expect, test } from "bun:test";
import { drain, numbered, Reader, textOf, toQueue } from "../../conformance/broker/scene.ts";
import { DataFolder } from "./data_folder.ts";

test("only what a loop has seen comes back as redelivered", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  await broker.declareQueue({ name: "q" });
  for (const text of numbered(6)) await broker.publish(toQueue("q", text));
  const consumer = await broker.consume("q", { prefetch: 5 });
  await new Reader(consumer).take(2);
  await consumer.close();
  const again = await drain(broker, "q");
  expect(again.map(textOf)).toEqual(numbered(6));
  expect(again.filter(({ redelivered }) => redelivered).map(textOf)).toEqual(["m1", "m2"]);
});

test("several calls of next() that wait are answered in their order", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  await broker.declareQueue({ name: "q" });
  const consumer = await broker.consume("q", { prefetch: 5 });
  const reader = new Reader(consumer);
  const reading = Promise.all([reader.next(), reader.next(), reader.next()]);
  for (const text of numbered(3)) await broker.publish(toQueue("q", text));
  expect((await reading).map(textOf)).toEqual(numbered(3));
});

test("what one consumer gives back goes to the next at once", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  await broker.declareQueue({ name: "q" });
  for (const text of numbered(3)) await broker.publish(toQueue("q", text));
  const first = await broker.consume("q", { prefetch: 3 });
  const second = new Reader(await broker.consume("q", { prefetch: 3 }));
  await first.close();
  expect((await second.take(3)).map(textOf)).toEqual(numbered(3));
});

test("deleteQueue() of a private queue closes it for its own connection", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  const queue = await broker.openPrivateQueue({ prefix: "mine" });
  await broker.deleteQueue(queue.name ?? "");
  expect(queue.name).toBeUndefined();
  await new Reader(queue).end();
});

test("a quorum queue is made as what there is, with a word about it", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  const status = await broker.declareQueue({ name: "q", type: "quorum" });
  expect(status.mismatch).toContain("not replicated");
});
