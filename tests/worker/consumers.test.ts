/** Consumers of messages: a worker with real isolates, on the embedded broker and on RabbitMQ. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { createAmqpBroker } from "../../src/broker/amqp/amqp_broker.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { markPaused, unmarkPaused } from "../../src/broker/pause_marks.ts";
import { encodeQueueCommand } from "../../src/calls/wire/control_message.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { until } from "../support/waiting.ts";
import { type BrokerUnderTest, CONSUMERS, ConsumerScene, header } from "./consumer_scene.ts";

const LIMIT_MS = 60_000;

function embedded(): Promise<BrokerUnderTest> {
  const dataDir = mkdtempSync(join(tmpdir(), "cox-consumers-"));
  const broker = new EmbeddedBroker({ dataDir });
  return Promise.resolve({
    connect: () => broker.connect(),
    async dispose() {
      await broker.stop();
      rmSync(dataDir, { recursive: true });
    },
  });
}

async function rabbitMq(): Promise<BrokerUnderTest> {
  const rabbit = await startRabbitMq();
  const proxies = new Map<Broker, TcpProxy>();
  return {
    connect() {
      const proxy = new TcpProxy(rabbit.port);
      const broker = createAmqpBroker({ url: `amqp://guest:guest@127.0.0.1:${proxy.port}` });
      proxies.set(broker, proxy);
      return broker;
    },
    async cut(broker) {
      await proxies.get(broker)?.cut();
    },
    async dispose() {
      for (const proxy of proxies.values()) await proxy[Symbol.asyncDispose]();
      await rabbit.dispose();
    },
  };
}

for (const [name, make] of [["embedded", embedded], ["RabbitMQ", rabbitMq]] as const) {
  describe(`a consumer on ${name}`, () => {
    let under: BrokerUnderTest;
    beforeAll(async () => {
      under = await make();
    }, LIMIT_MS);
    afterAll(() => under.dispose(), LIMIT_MS);

    const scene = (title: string, play: (scene: ConsumerScene) => Promise<void>) =>
      test(title, async () => {
        await using opened = await ConsumerScene.open(under);
        await play(opened);
      }, LIMIT_MS);

    scene("gets body, envelope and properties", async (scene) => {
      await scene.work(["plain"]);
      const timestamp = new Date("2026-01-02T03:04:05Z");
      await scene.publish("", "plain", { a: [1] }, {
        contentType: "application/json",
        persistent: true,
        priority: 3,
        correlationId: "c",
        replyTo: "r",
        expirationMs: 60_000,
        messageId: "m-1",
        timestamp,
        type: "t",
        appId: "a",
        headers: {
          text: "x",
          whole: 7,
          large: 2n ** 60n,
          yes: true,
          nothing: null,
          bytes: new Uint8Array([1, 2]),
          list: [1, "two"],
          table: { deep: { er: 1 } },
        },
      });
      expect(await scene.first()).toMatchObject({
        body: { a: [1] },
        envelope: { exchange: "", routingKey: "plain", redelivered: false, queue: "plain" },
        properties: {
          contentType: "application/json",
          deliveryMode: 2,
          priority: 3,
          correlationId: "c",
          replyTo: "r",
          expiration: "60000",
          messageId: "m-1",
          timestamp: `date ${timestamp.toISOString()}`,
          type: "t",
          appId: "a",
          headers: {
            text: "x",
            whole: 7,
            large: expect.anything(),
            yes: true,
            nothing: null,
            bytes: "bytes 1 2",
            list: [1, "two"],
            table: { deep: { er: 1 } },
          },
        },
        attempt: 1,
        redelivered: false,
        id: "m-1",
        headers: { text: "x" },
      });
      await until("it is acked", async () => await scene.depth("plain") === 0);
    });

    scene("reads each body as its content type says, or as what it is", async (scene) => {
      await scene.work(["single"]);
      const bytes = new Uint8Array([0xff, 0, 0x80]);
      const cases: readonly (readonly [unknown, string | undefined, unknown, string])[] = [
        ['{"a":1}', "application/json", { a: 1 }, "object"],
        ['{"a":1}', undefined, { a: 1 }, "object"],
        ["[1]", "application/cloudevents+json; charset=utf-8", [1], "object"],
        ["12", undefined, 12, "number"],
        ["12", "text/plain", "12", "string"],
        ["no {json", undefined, "no {json", "string"],
        ["no {json", "application/json", "no {json", "string"],
        ["", undefined, "", "string"],
        ["line\nfeed", "text/plain", "line\nfeed", "string"],
        [bytes, undefined, [...bytes], "bytes"],
        [bytes, "text/plain", [...bytes], "bytes"],
        ["12", "application/octet-stream", [49, 50], "bytes"],
      ];
      for (const [body, contentType] of cases) {
        const properties = contentType === undefined ? {} : { contentType };
        await scene.publish("", "single", body, properties);
      }
      const handled = await scene.handledCount(cases.length);
      expect(handled.map(({ body, kind }) => [body, kind])).toEqual(
        cases.map(([, , body, kind]) => [body, kind]),
      );
    });

    scene("is bound to all four types of exchanges", async (scene) => {
      const queues = ["topic.words", "topic.all", "direct", "fanout.1", "fanout.2", "headers"];
      const worker = await scene.work(queues);
      await scene.publish("t.topic", "a.b", "a.b");
      await scene.publish("t.topic", "a.b.c", "a.b.c");
      await scene.publish("t.topic", "x.y.z", "x.y.z");
      await scene.publish("t.direct", "k", "k");
      await scene.publish("t.direct", "other", "not this");
      await scene.publish("t.fanout", "any", "all");
      await scene.publish("t.headers", "", "red", { headers: { color: "red", size: "small" } });
      await scene.publish("t.headers", "", "not this", { headers: { color: "blue" } });
      const handled = await scene.handledCount(9);
      expect(handled.map(({ envelope, body }) => `${envelope.queue}: ${body}`).sort()).toEqual([
        "direct: k",
        "fanout.1: all",
        "fanout.2: all",
        "headers: red",
        "topic.all: a.b",
        "topic.all: a.b.c",
        "topic.all: x.y.z",
        "topic.words: a.b",
        "topic.words: x.y.z",
      ]);
      const status = worker.status.consumers.find(({ queue }) => queue === "topic.words");
      expect(status).toMatchObject({
        exchange: "t.topic",
        keys: ["a.*", "#.z"],
        isLive: true,
        isPaused: false,
        prefetch: 10,
        delivered: 2,
      });
    });

    scene("is tried again after growing pauses, and sees the message as it was", async (scene) => {
      await scene.work(["single"]);
      await scene.publish("", "single", { throwTimes: 2 }, {
        messageId: "m",
        correlationId: "c",
        headers: { own: "header" },
      });
      const handled = await scene.handledCount(3);
      expect(handled.map(({ attempt, redelivered, id }) => [attempt, redelivered, id])).toEqual([
        [1, false, "m"],
        [2, false, "m"],
        [3, false, "m"],
      ]);
      for (const { envelope, properties } of handled) {
        expect(envelope).toEqual({
          exchange: "",
          routingKey: "single",
          redelivered: false,
          queue: "single",
        });
        expect(properties).toEqual({
          messageId: "m",
          correlationId: "c",
          headers: { own: "header" },
          deliveryMode: 1,
        });
      }
      const [first = 0, second = 0, third = 0] = handled.map(({ at }) => at);
      expect(second - first).toBeGreaterThanOrEqual(200);
      expect(third - second).toBeGreaterThanOrEqual(400);
      await until("it is settled", () => scene.finished.length === 1);
    });

    scene("keeps exchange and routing key through its attempts", async (scene) => {
      await scene.work(["topic.words"]);
      await scene.publish("t.topic", "a.b", { throwTimes: 1 });
      const handled = await scene.handledCount(2);
      expect(handled.map(({ envelope }) => [envelope.exchange, envelope.routingKey])).toEqual([
        ["t.topic", "a.b"],
        ["t.topic", "a.b"],
      ]);
      // Its next attempt went to its own queue alone.
      expect(handled.every(({ envelope }) => envelope.queue === "topic.words")).toBe(true);
    });

    scene("is dead-lettered with its story after its last attempt", async (scene) => {
      await scene.work(["topic.words"]);
      await scene.publish("t.topic", "a.b", { throw: "no good" }, { headers: { own: "header" } });
      const letter = await scene.deadLetter();
      expect(scene.handled).toHaveLength(3);
      expect(JSON.parse(new TextDecoder().decode(letter.body))).toEqual({ throw: "no good" });
      expect(letter.properties.persistent).toBe(true);
      expect(letter.properties.headers).toMatchObject({
        own: "header",
        "cox-exchange": "t.topic",
        "cox-routing-key": "a.b",
        "cox-dead-queue": "topic.words",
        "cox-node": "worker-1",
        "cox-dead-reason": "3 attempts failed, the last: TypeError: no good",
        "cox-failures": 3,
      });
      expect(header(letter, "cox-history")).toEqual(
        [1, 2, 3].map((attempt) =>
          expect.stringMatching(
            new RegExp(`^20.*\\+00:00 attempt ${attempt} on worker-1: TypeError: no good$`),
          )
        ),
      );
      expect(await scene.depth("topic.words")).toBe(0);
    });

    scene("is dead-lettered at once by Reject, and tried again by Retry", async (scene) => {
      await scene.work(["plain"]);
      await scene.publish("", "plain", { reject: "nobody wants it" });
      const letter = await scene.deadLetter();
      expect(header(letter, "cox-dead-reason")).toBe("Rejected: Reject: nobody wants it");
      expect(scene.handled).toHaveLength(1);
      await scene.publish("", "plain", { retry: "30ms" });
      const handled = await scene.handledCount(3);
      expect(handled.map(({ attempt }) => attempt)).toEqual([1, 1, 2]);
    });

    scene("is killed at its limit, which counts as a failure", async (scene) => {
      const worker = await scene.work(["short"]);
      await scene.publish("", "short", { spin: true });
      const letter = await scene.deadLetter();
      expect(scene.handled).toHaveLength(3);
      expect(header(letter, "cox-dead-reason")).toBe(
        "3 attempts failed, the last: it ran past its limit of 150ms and was killed",
      );
      // The isolate is whole again.
      await scene.publish("", "short", "next");
      await scene.handledCount(4);
      expect(worker.status.consumers[0]).toMatchObject({ queue: "short", isLive: true });
    });

    scene("is told of its soft limit", async (scene) => {
      await scene.work(["short"]);
      await scene.publish("", "short", { untilAborted: true });
      const letter = await scene.deadLetter();
      expect(header(letter, "cox-dead-reason")).toContain("SoftTimeLimitExceeded");
    });

    scene("is given up once three isolates have died by it", async (scene) => {
      await scene.work(["plain"]);
      await scene.publish("", "plain", { exit: 3 });
      const letter = await scene.deadLetter();
      expect(header(letter, "cox-dead-reason")).toBe("3 isolates that handled it have died");
      const handled = scene.handled.map(({ attempt, redelivered }) => [attempt, redelivered]);
      expect(handled).toEqual([[1, false], [1, true], [1, true]]);
      await scene.publish("", "plain", "next");
      await scene.handledCount(4);
    });

    scene("with noAck runs once, and is gone when it fails", async (scene) => {
      const worker = await scene.work(["once"]);
      await scene.publish("", "once", { throw: "lost" });
      await scene.publish("", "once", "fine");
      await until("the second is finished", () => scene.finished.length === 1);
      await until("both are settled", () => worker.status.consumers[0]?.settled === 2);
      expect(scene.handled).toHaveLength(2);
      expect(await scene.depth("once")).toBe(0);
      expect(await scene.depth("cox.dead-letters")).toBe(0);
    });

    scene("does not wait for messages that pause", async (scene) => {
      await scene.work(["single"]);
      for (let count = 0; count < 3; count++) {
        await scene.publish("", "single", { throwTimes: 1, count });
      }
      await scene.publish("", "single", "behind them");
      await until(
        "it is handled before their second attempts",
        () => scene.handled.some(({ body }) => body === "behind them"),
      );
      expect(scene.handled.filter(({ attempt }) => attempt === 2)).toEqual([]);
      await until("all are finished", () => scene.finished.length === 4);
    });

    scene("goes on with its attempts in another worker after a stop", async (scene) => {
      const worker = await scene.work(["single"]);
      await scene.publish("", "single", { throwTimes: 2 });
      await scene.handledCount(1);
      await until("it pauses", () => worker.status.consumers[0]?.prefetch === 9);
      await scene.stop(worker);
      await scene.work(["single"]);
      const handled = await scene.handledCount(3);
      expect(handled.map(({ attempt, redelivered }) => [attempt, redelivered])).toEqual([
        [1, false],
        [2, false],
        [3, false],
      ]);
      expect((handled[1]?.at ?? 0) - (handled[0]?.at ?? 0)).toBeGreaterThanOrEqual(195);
    });

    scene("gives back what it runs when its worker stops before the end", async (scene) => {
      const worker = await scene.work(["plain"]);
      await scene.publish("", "plain", { sleep: 60_000, body: 1 });
      await scene.handledCount(1);
      await scene.stop(worker, 100);
      expect(await scene.depth("plain")).toBe(1);
      expect(await scene.depth("cox.dead-letters")).toBe(0);
    });

    scene("is not delivered while its queue is paused, however late it starts", async (scene) => {
      const worker = await scene.work(["plain"]);
      const isPaused = () => worker.status.consumers[0]?.isPaused;
      await markPaused(scene.app, "plain");
      await scene.app.publish(encodeQueueCommand("plain", true));
      await until("it is paused", () => isPaused() === true);
      await until("its consumer is gone", async () => {
        return (await scene.app.inspectQueue("plain"))?.consumers === 0;
      });
      await scene.publish("", "plain", "later");
      await scene.stop(worker);

      const next = await scene.work(["plain"]);
      expect(next.status.consumers[0]).toMatchObject({ isPaused: true, isLive: false });
      expect(await scene.depth("plain")).toBe(1);
      expect(scene.handled).toEqual([]);

      await unmarkPaused(scene.app, "plain");
      await scene.app.publish(encodeQueueCommand("plain", false));
      expect((await scene.first()).body).toBe("later");
      expect(next.status.consumers[0]).toMatchObject({ isPaused: false, isLive: true });
    });

    scene("refuses to start without the exchange that it needs", async (scene) => {
      const folder = mkdtempSync(join(tmpdir(), "cox-consumer-"));
      const file = join(folder, "lost.ts");
      writeFileSync(
        file,
        `import { consume } from "coxswain";
         consume({ queue: "lost", exchange: "nowhere" }, () => {});`,
      );
      try {
        const failure = await scene.work(["lost"], [file]).then(
          () => undefined,
          (error: unknown) => error,
        );
        expect(String(failure)).toContain(
          `Cannot consume queue "lost" (${file}): is there no exchange "nowhere"? ` +
            'Give consume() its type, or name it under "exchanges" in coxswain.json.',
        );
      } finally {
        await scene.app.deleteQueue("lost");
        rmSync(folder, { recursive: true });
      }
    });

    scene("refuses an exchange of another type, and says which", async (scene) => {
      await scene.app.declareExchange({ name: "t.taken", type: "fanout" });
      const folder = mkdtempSync(join(tmpdir(), "cox-consumer-"));
      const file = join(folder, "taken.ts");
      writeFileSync(
        file,
        `import { consume } from "coxswain";
         consume({ queue: "taken", exchange: "t.taken", type: "topic" }, () => {});`,
      );
      try {
        await expect(scene.work(["taken"], [file])).rejects.toThrow(/queue "taken".*t\.taken/);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });

    if (name === "RabbitMQ") {
      scene("is handled once where the connection is lost while it runs", async (scene) => {
        const worker = await scene.work(["plain"]);
        await scene.publish("", "plain", { sleep: 1_500 });
        await scene.handledCount(1);
        await scene.cut(worker);
        await until("it is finished", () => scene.finished.length === 1);
        await until("it is acked", () => worker.status.consumers[0]?.settled === 1);
        expect(scene.handled).toHaveLength(1);
        await until("nothing is left", async () => await scene.depth("plain") === 0);
      });

      scene("loses nothing, and doubles nothing, where that happens while it pauses", async (s) => {
        const worker = await s.work(["single"]);
        await s.publish("", "single", { throwTimes: 3 });
        await s.handledCount(1);
        await s.cut(worker);
        await until("it is finished", () => s.finished.length === 1, 20_000);
        await until("nothing is left", async () => await s.depth("single") === 0);
        expect(s.finished).toHaveLength(1);
        expect(s.handled.length).toBeGreaterThanOrEqual(4);
        expect(s.handled.length).toBeLessThanOrEqual(5);
      });

      scene("notices after a reconnect that its queue was paused meanwhile", async (scene) => {
        const worker = await scene.work(["plain"]);
        // Marked, and nobody tells.
        await markPaused(scene.app, "plain");
        await scene.cut(worker);
        await until("it is paused", () => worker.status.consumers[0]?.isPaused === true);
        await unmarkPaused(scene.app, "plain");
        await scene.cut(worker);
        await until("it is resumed", () => worker.status.consumers[0]?.isPaused === false);
      });
    }
  });
}

test("the file of test consumers is where the scene looks for it", () => {
  expect(CONSUMERS).toEndWith("consumers.ts");
});
