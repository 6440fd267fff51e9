/** What happens where memory or the disk has an end. */
import { describe, expect, test } from "bun:test";
import type { Broker } from "../../../src/broker/broker.ts";
import { Engine } from "../../../src/broker/embedded/engine.ts";
import { BrokerAwayError } from "../../../src/broker/errors.ts";
import type { Message } from "../../../src/broker/message.ts";
import { drain, errorOf, eventually, Reader } from "../../conformance/broker/scene.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { DataFolder } from "./data_folder.ts";

const KIB = 1024;

function message(queue: string, bytes: number, persistent: boolean, mark = 0): Message {
  const body = new Uint8Array(bytes).fill(mark);
  return { exchange: "", routingKey: queue, properties: { persistent }, body };
}

function blockedBy(broker: Broker): string | undefined {
  return broker.state.kind === "connected" ? broker.state.blocked : undefined;
}

/** Publishes until the broker takes no more; tells how many it took. */
async function publishUntilRefused(broker: Broker, next: Message): Promise<number> {
  for (let taken = 0; taken < 1000; taken++) {
    try {
      await broker.publish(next, { confirm: true });
    } catch (error) {
      expect(error).toBeInstanceOf(BrokerAwayError);
      return taken;
    }
  }
  throw new Error("The broker took all of it");
}

describe("a full disk", () => {
  test("refuses durable messages, says so, and goes on with the rest", async () => {
    await using folder = new DataFolder();
    const broker = await folder.connect({ maxFileBytes: 2048 * KIB });
    const states: (string | undefined)[] = [];
    broker.watch(() => states.push(blockedBy(broker)));
    await broker.declareQueue({ name: "q" });
    const taken = await publishUntilRefused(broker, message("q", 100 * KIB, true));
    expect(taken).toBeGreaterThan(5);
    expect(blockedBy(broker)).toContain("disk");
    expect((await broker.inspectQueue("q"))?.messages).toBe(taken);
    expect(await broker.publish(message("q", 100, false), { confirm: true })).toBe("confirmed");

    expect((await drain(broker, "q")).length).toBe(taken + 1);
    await eventually(
      () =>
        broker.publish(message("q", 100 * KIB, true), { confirm: true })
          .catch((error: unknown) => String(error)),
      (result) => result === "confirmed",
      "room on the disk",
    );
    expect(blockedBy(broker)).toBeUndefined();
    expect(states[0]).toContain("disk");
    expect(states.at(-1)).toBeUndefined();
  });

  test("a message that was refused is delivered to nobody, now or later", async () => {
    await using folder = new DataFolder();
    const broker = folder.broker({ maxFileBytes: 512 * KIB });
    const connection = broker.connect();
    await connection.start();
    await connection.declareQueue({ name: "q" });
    expect(await errorOf(connection.publish(message("q", 600 * KIB, true), { confirm: true })))
      .toBeInstanceOf(BrokerAwayError);
    expect((await connection.inspectQueue("q"))?.messages).toBe(0);
    await broker.stop();
    const after = await folder.connect();
    expect((await after.inspectQueue("q"))?.messages).toBe(0);
  });
});

describe("full memory", () => {
  test("refuses what goes to shared queues until there is room, and says so", async () => {
    await using folder = new DataFolder();
    const broker = await folder.connect({ maxMemoryBytes: 1024 * KIB });
    await broker.declareQueue({ name: "q" });
    await broker.declareExchange({ name: "all", type: "fanout" });
    await broker.bind({ exchange: "all", queue: "q" });
    const replies = await broker.openPrivateQueue({ prefix: "reply", bindings: [] });
    const taken = await publishUntilRefused(broker, message("q", 100 * KIB, false));
    expect(taken).toBe(11);
    expect(blockedBy(broker)).toContain("memory");
    expect(await errorOf(broker.publish({ ...message("", 1, false), exchange: "all" })))
      .toBeInstanceOf(BrokerAwayError);
    const reply = message(replies.name ?? "", 100 * KIB, false);
    expect(await broker.publish(reply, { mandatory: true })).toBe("sent");

    const consumer = await broker.consume("q", { prefetch: 10 });
    const reader = new Reader(consumer);
    (await reader.next()).ack();
    expect(blockedBy(broker)).toContain("memory");
    (await reader.next()).ack();
    expect(blockedBy(broker)).toBeUndefined();
    expect(await broker.publish(message("q", 1, false), { confirm: true })).toBe("confirmed");
  });

  test("messages that are on disk leave memory, and come back when they are taken", async () => {
    await using folder = new DataFolder();
    const clock = new FakeClock();
    const engine = Engine.open({
      dataDir: folder.path,
      clock,
      comfortableBytes: 200 * KIB,
      maxMemoryBytes: 1024 * KIB,
      onBlocked: () => undefined,
    });
    engine.host.declareQueue({ name: "grave" });
    engine.host.declareQueue({ name: "q", deadLetterExchange: "", deadLetterRoutingKey: "grave" });
    const publish = (next: Message) => engine.publish(next, { confirm: true }, () => undefined);
    for (let mark = 0; mark < 100; mark++) await publish(message("q", 40 * KIB, true, mark));
    expect(engine.shelf.residentBytes).toBeLessThan(300 * KIB);
    const mortal = message("q", 40 * KIB, true, 200);
    await publish({ ...mortal, properties: { persistent: true, expirationMs: 1000 } });
    clock.advance(1000);
    clock.advance(20);
    await engine.close();

    const broker = await folder.connect({ comfortableBytes: 200 * KIB });
    const marks = (await drain(broker, "q")).map(({ message: { body } }) => [
      body.length,
      body[0],
      body.at(-1),
    ]);
    expect(marks).toEqual(Array.from({ length: 100 }, (_, mark) => [40 * KIB, mark, mark]));
    const [dead] = await drain(broker, "grave");
    expect([dead?.message.body.length, dead?.message.body[0]]).toEqual([40 * KIB, 200]);
  });

  test("settled messages leave nothing behind", async () => {
    await using folder = new DataFolder();
    const engine = Engine.open({
      dataDir: folder.path,
      clock: new FakeClock(),
      comfortableBytes: 10 * KIB,
      maxMemoryBytes: 1024 * KIB,
      onBlocked: () => undefined,
    });
    engine.host.declareQueue({ name: "q", maxLength: 3, messageTtlMs: 50 });
    for (let mark = 0; mark < 20; mark++) {
      await engine.publish(
        message("q", 5 * KIB, mark % 2 === 0, mark),
        { confirm: true },
        () => {},
      );
    }
    expect(engine.host.queue("q")?.purge()).toBe(3);
    expect(engine.shelf.residentBytes).toBe(0);
    expect(engine.deadlines.size).toBe(0);
    await engine.close();
  });
});
