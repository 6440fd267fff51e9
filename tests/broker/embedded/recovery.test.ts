/** What a new broker finds on the folder of one that stopped, or that ended without a farewell. */
import { expect, test } from "bun:test";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import type { Broker } from "../../../src/broker/broker.ts";
import { DeclarationError } from "../../../src/broker/errors.ts";
import { STRETCH } from "../../../src/broker/embedded/hand_out_mark.ts";
import {
  drain,
  errorOf,
  eventually,
  numbered,
  Reader,
  textOf,
  toExchange,
  toQueue,
} from "../../conformance/broker/scene.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { DataFolder } from "./data_folder.ts";

const DURABLE = { persistent: true };

async function fill(broker: Broker, queue: string, texts: readonly string[], priority = 0) {
  await Promise.all(
    texts.map((text) =>
      broker.publish(toQueue(queue, text, { persistent: true, priority }), { confirm: true })
    ),
  );
}

test("declarations come back as they were last, whatever went before", async () => {
  await using folder = new DataFolder();
  const broker = folder.broker();
  const before = broker.connect();
  await before.start();
  await before.declareQueue({ name: "kept", maxPriority: 4, deadLetterExchange: "dlx" });
  await before.declareQueue({ name: "deleted" });
  await before.declareQueue({ name: "changed", maxLength: 5 });
  await before.declareExchange({ name: "h", type: "headers" });
  await before.declareExchange({ name: "t", type: "topic" });
  await before.declareExchange({ name: "fleeting", type: "fanout", durable: false });
  await before.declareExchange({ name: "gone", type: "fanout", autoDelete: true });
  await before.bind({
    exchange: "h",
    queue: "kept",
    arguments: { "x-match": "any", a: 1, b: "x" },
  });
  await before.bind({ exchange: "t", queue: "kept", routingKey: "a.*" });
  await before.bind({ exchange: "t", queue: "kept", routingKey: "b.*" });
  await before.bind({ exchange: "t", queue: "deleted", routingKey: "#" });
  await before.bind({ exchange: "gone", queue: "kept" });
  await before.unbind({ exchange: "t", queue: "kept", routingKey: "b.*" });
  await before.unbind({ exchange: "gone", queue: "kept" });
  await before.deleteQueue("deleted");
  await before.deleteQueue("changed");
  await before.declareQueue({ name: "changed", maxLength: 7 });
  await broker.stop();

  const after = await folder.connect();
  const mismatch = async (spec: Parameters<Broker["declareQueue"]>[0]) =>
    (await after.declareQueue(spec)).mismatch;
  expect(await mismatch({ name: "kept", maxPriority: 4, deadLetterExchange: "dlx" }))
    .toBeUndefined();
  expect(await mismatch({ name: "changed", maxLength: 7 })).toBeUndefined();
  expect(await after.inspectQueue("deleted")).toBeUndefined();
  await after.declareExchange({ name: "h", type: "headers" });
  expect(await errorOf(after.declareExchange({ name: "t", type: "direct" })))
    .toBeInstanceOf(DeclarationError);
  await after.declareExchange({ name: "gone", type: "direct" });
  await after.declareExchange({ name: "fleeting", type: "topic" });
  const reaches = (exchange: string, key: string, headers = {}) =>
    after.publish(toExchange(exchange, key, "x", { headers }), { mandatory: true, confirm: true });
  expect(await reaches("h", "", { b: "x" })).toBe("confirmed");
  expect(await reaches("h", "", { b: "y" })).toBe("returned");
  expect(await reaches("t", "a.b")).toBe("confirmed");
  expect(await reaches("t", "b.a")).toBe("returned");
  await after.unbind({
    exchange: "h",
    queue: "kept",
    arguments: { b: "x", "x-match": "any", a: 1 },
  });
  expect(await reaches("h", "", { b: "x" })).toBe("returned");
});

test("after a crash, what was handed out before it was on disk is marked, the rest is not", async () => {
  await using folder = new DataFolder();
  const before = await folder.connect();
  await before.declareQueue({ name: "q" });
  const reader = new Reader(await before.consume("q", { prefetch: 3 }));
  await fill(before, "q", numbered(10));
  await reader.take(3);

  const after = await folder.connect({ dataDir: folder.crashCopy() });
  const kept = await drain(after, "q");
  expect(kept.map(textOf)).toEqual(numbered(10));
  expect(kept.map(({ redelivered }) => redelivered)).toEqual(
    numbered(10).map((_, index) => index < 3),
  );
});

test("after a crash, no handed out message of a backlog is unmarked, and few others are marked", async () => {
  await using folder = new DataFolder();
  const before = await folder.connect();
  await before.declareQueue({ name: "q", maxPriority: 2 });
  const texts = numbered(3 * STRETCH);
  await fill(before, "q", texts, 0);
  await fill(before, "q", ["urgent", "urgent too"], 2);
  const reader = new Reader(await before.consume("q", { prefetch: 5 }));
  const seen = (await reader.take(5)).map(textOf);
  expect(seen).toEqual(["urgent", "urgent too", "m1", "m2", "m3"]);

  const after = await folder.connect({ dataDir: folder.crashCopy() });
  const kept = await drain(after, "q");
  expect(kept.map(textOf)).toEqual(["urgent", "urgent too", ...texts]);
  const marked = kept.filter(({ redelivered }) => redelivered).map(textOf);
  expect(seen.filter((text) => !marked.includes(text))).toEqual([]);
  expect(marked.length).toBeLessThanOrEqual(2 + STRETCH + 1);
});

test("a backlog is handed out in order, over the end of each stretch", async () => {
  await using folder = new DataFolder();
  const broker = await folder.connect();
  await broker.declareQueue({ name: "q" });
  const texts = numbered(3 * STRETCH + 7);
  await fill(broker, "q", texts);
  const reader = new Reader(await broker.consume("q", { prefetch: 20 }));
  expect(await reader.takeTexts(texts.length)).toEqual(texts);
});

test("a clean stop leaves exact marks", async () => {
  await using folder = new DataFolder();
  const broker = folder.broker();
  const before = broker.connect();
  await before.start();
  await before.declareQueue({ name: "q" });
  await fill(before, "q", numbered(50));
  await new Reader(await before.consume("q", { prefetch: 2 })).take(2);
  await broker.stop();

  const after = await folder.connect();
  const kept = await drain(after, "q");
  expect(kept.filter(({ redelivered }) => redelivered).map(textOf)).toEqual(["m1", "m2"]);
});

test("a message that is acked is gone for good once its group is written", async () => {
  await using folder = new DataFolder();
  const clock = new FakeClock();
  const before = await folder.connect({ clock });
  await before.declareQueue({ name: "q" });
  await fill(before, "q", numbered(3));
  const reader = new Reader(await before.consume("q", { prefetch: 1 }));
  (await reader.next()).ack();
  clock.advance(20);
  const after = await folder.connect({ dataDir: folder.crashCopy() });
  expect((await drain(after, "q")).map(textOf)).toEqual(["m2", "m3"]);
});

test("a dead letter is on disk with the commit that forgets the message", async () => {
  await using folder = new DataFolder();
  const clock = new FakeClock();
  const before = await folder.connect({ clock });
  await before.declareQueue({ name: "grave" });
  await before.declareQueue({
    name: "q",
    deadLetterExchange: "",
    deadLetterRoutingKey: "grave",
  });
  await fill(before, "q", ["m1"]);
  const reader = new Reader(await before.consume("q", { prefetch: 1 }));
  (await reader.next()).nack({ requeue: false });
  const early = await folder.connect({ dataDir: folder.crashCopy() });
  clock.advance(20);
  const late = await folder.connect({ dataDir: folder.crashCopy() });
  const depths = async (broker: Broker) => [
    (await broker.inspectQueue("q"))?.messages,
    (await broker.inspectQueue("grave"))?.messages,
  ];
  expect(await depths(early)).toEqual([1, 0]);
  expect(await depths(late)).toEqual([0, 1]);
  expect((await drain(late, "grave"))[0]?.message.properties.headers?.["x-first-death-queue"])
    .toBe("q");
});

test("transient messages and messages in transient queues never touch the disk", async () => {
  await using folder = new DataFolder();
  const before = await folder.connect();
  await before.declareQueue({ name: "durable" });
  await before.declareQueue({ name: "transient", durable: false });
  await before.publish(toQueue("durable", "x"), { confirm: true });
  await before.publish(toQueue("transient", "x", DURABLE), { confirm: true });
  await before.publish(toQueue("durable", "kept", DURABLE), { confirm: true });
  const database = new DatabaseSync(join(folder.crashCopy(), "broker.sqlite"));
  expect(database.prepare("SELECT count(*) AS n FROM messages").get()).toMatchObject({ n: 1 });
  database.close();
});

test("messages that a consumer held of a deleted queue do not come back", async () => {
  await using folder = new DataFolder();
  const broker = folder.broker();
  const before = broker.connect();
  await before.start();
  await before.declareQueue({ name: "q" });
  await fill(before, "q", numbered(4));
  const reader = new Reader(await before.consume("q", { prefetch: 2 }));
  const [held] = await reader.take(2);
  await before.deleteQueue("q");
  held?.ack();
  await before.declareQueue({ name: "q" });
  await fill(before, "q", ["new"]);
  await broker.stop();

  const after = await folder.connect();
  expect((await drain(after, "q")).map(textOf)).toEqual(["new"]);
});

test("what is past its time when the broker starts is dead-lettered, the rest in its time", async () => {
  await using folder = new DataFolder();
  const broker = folder.broker({ clock: new FakeClock(1_000_000) });
  const before = broker.connect();
  await before.start();
  await before.declareQueue({ name: "grave" });
  await before.declareQueue({ name: "q", deadLetterExchange: "", deadLetterRoutingKey: "grave" });
  for (const expirationMs of [5_000, 60_000]) {
    const message = toQueue("q", `${expirationMs}`, { persistent: true, expirationMs });
    await before.publish(message, { confirm: true });
  }
  await broker.stop();

  const clock = new FakeClock(1_010_000);
  const after = await folder.connect({ clock });
  clock.advance(0);
  expect((await after.inspectQueue("q"))?.messages).toBe(1);
  expect((await drain(after, "grave")).map(textOf)).toEqual(["5000"]);
  clock.advance(49_999);
  expect((await after.inspectQueue("q"))?.messages).toBe(1);
  clock.advance(1);
  expect((await drain(after, "grave")).map(textOf)).toEqual(["60000"]);
});

test("order goes on over restarts: new messages stand behind old ones", async () => {
  await using folder = new DataFolder();
  for (const text of ["m1", "m2", "m3"]) {
    const broker = folder.broker();
    const connection = broker.connect();
    await connection.start();
    await connection.declareQueue({ name: "q" });
    await fill(connection, "q", [text]);
    await broker.stop();
  }
  const after = await folder.connect();
  expect((await drain(after, "q")).map(textOf)).toEqual(numbered(3));
});

test("a message that the disk does not give is delivered as unreadable", async () => {
  await using folder = new DataFolder();
  const broker = folder.broker();
  const before = broker.connect();
  await before.start();
  await before.declareQueue({ name: "q" });
  await fill(before, "q", numbered(2));
  await broker.stop();
  const database = new DatabaseSync(join(folder.path, "broker.sqlite"));
  database.exec("UPDATE messages SET properties = 'garbage' WHERE id = 1");
  database.close();

  const after = await folder.connect();
  const [bad, good] = await new Reader(await after.consume("q", { prefetch: 2 })).take(2);
  expect(bad?.unreadable).toContain("Cannot read it from disk");
  expect(good?.unreadable).toBeUndefined();
  expect(good && textOf(good)).toBe("m2");
  bad?.nack({ requeue: false });
  good?.ack();
  await eventually(
    async () => (await after.inspectQueue("q"))?.messages,
    (messages) => messages === 0,
    "the queue to be empty",
  );
});
