/**
 * What a broker might send, into our client, over a real socket. Content of any kind in frames that
 * are whole arrives, readable or marked; frames that are none cost the connection and no more: the
 * client comes back and goes on.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { createAmqpBroker } from "../../src/broker/amqp/amqp_broker.ts";
import type { Broker, Consumer as OurConsumer } from "../../src/broker/broker.ts";
import type { Delivery } from "../../src/broker/message.ts";
import { until } from "../support/waiting.ts";
import { bodyFrame, type Consumer, contentHeader, FakeBroker } from "../support/fake_broker.ts";
import { frame, shortString, uint16, uint32 } from "../support/raw_amqp.ts";
import { deepTable, wireName, wireProperties } from "./arbitraries.ts";
import { holdsLater, LIMIT_MS } from "./runs.ts";

const QUEUE = "fuzzed";
let peer: FakeBroker;
let broker: Broker;
const received: Delivery[] = [];
let consumer: OurConsumer;

beforeAll(async () => {
  peer = await FakeBroker.start();
  broker = createAmqpBroker({ url: peer.url, name: "fuzz" });
  await broker.start(AbortSignal.timeout(20_000));
  consumer = await broker.consume(QUEUE, { prefetch: 1_000 });
  (async () => {
    for await (const delivery of consumer) {
      delivery.ack();
      received.push(delivery);
    }
  })();
}, LIMIT_MS);
afterAll(async () => {
  await broker.stop();
  await peer[Symbol.asyncDispose]();
});

let sentinels = 0;

/** Once this is there, all before it has been read. */
async function sentinel(to: Consumer): Promise<void> {
  const mark = `sentinel ${++sentinels}`;
  // content-type alone.
  const properties = Buffer.concat([Buffer.of(0x80, 0), shortString(mark)]);
  to.send(Buffer.concat([peer.deliver(to), contentHeader(to.channel, 0, properties)]));
  await until(
    `"${mark}" has come`,
    () => received.at(-1)?.message.properties.contentType === mark,
  );
}

/** The consumer as it is after our client has come back, or the same. */
async function connected(): Promise<Consumer> {
  await until("our client consumes", () => peer.consumer(QUEUE) !== undefined && consumer.isLive);
  const found = peer.consumer(QUEUE);
  if (found === undefined) throw new Error("No consumer");
  return found;
}

const bodies = fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { maxLength: 4 });

test("content of any kind arrives, readable or marked, and what follows it too", async () => {
  const to = await connected();
  const content = fc.record({ properties: wireProperties, parts: bodies, key: wireName });
  const deep = Buffer.concat([Buffer.of(0x20, 0), deepTable(10_000)]);
  // A property that AMQP 0-9-1 reserves: bit 2, a short string.
  const clusterId = Buffer.concat([uint16(4), shortString("abc")]);
  await holdsLater(
    content,
    async ({ properties, parts, key }) => {
      received.length = 0;
      const body = Buffer.concat(parts);
      to.send(Buffer.concat([
        peer.deliver(to, Buffer.from(key)),
        contentHeader(to.channel, body.length, properties),
        ...parts.map((part) => bodyFrame(to.channel, part)),
      ]));
      await sentinel(to);
      expect(received).toHaveLength(2);
      expect(Buffer.compare(received[0]?.message.body ?? Buffer.of(), body)).toBe(0);
      expect(peer.consumer(QUEUE) === to).toBe(true);
    },
    250,
    [
      { properties: deep, parts: [], key: Buffer.of(0) },
      { properties: clusterId, parts: [], key: Buffer.of(0) },
    ],
  );
}, LIMIT_MS);

test("frames that are none cost the connection and no more, whatever they announce", async () => {
  const rssBefore = process.memoryUsage.rss();
  const broken = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 200 }),
    // Any class and method on any channel, with any arguments.
    fc.tuple(
      fc.constantFrom(0, 1, 2, 9, 2_047),
      fc.constantFrom(10, 20, 40, 50, 60, 85, 90, 7),
      fc.constantFrom(10, 11, 20, 30, 31, 40, 41, 50, 51, 60, 61, 71, 80, 120),
      fc.uint8Array({ maxLength: 30 }),
    ).map(([channel, classId, methodId, rest]) =>
      frame(1, channel, Buffer.concat([uint16(classId), uint16(methodId), rest]))
    ),
    // A frame of any type and any announced size, with any end.
    fc.tuple(fc.nat(255), fc.nat(3), fc.nat(), fc.uint8Array({ maxLength: 50 })).map((
      [type, channel, size, rest],
    ) => Buffer.concat([Buffer.of(type), uint16(channel), uint32(size), rest])),
    // A body that announces itself as huge, or is larger than announced.
    fc.tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 100 })).map(([size, rest]) =>
      Buffer.concat([contentHeader(2, size, Buffer.of(0, 0)), bodyFrame(2, rest)])
    ),
  );
  const huge = Buffer.alloc(8, 0xff);
  const hugeBody = Buffer.concat([uint16(60), uint16(0), huge, uint16(0)]);
  const examples = [
    frame(2, 2, hugeBody),
    Buffer.of(3, 0, 2, 0xff, 0xff, 0xff, 0xff, 1),
    // A negative size, and with its eight bytes around it none at all.
    Buffer.of(3, 0, 2, 0xff, 0xff, 0xff, 0xf8, 1),
  ];
  await holdsLater(
    broken,
    async (bytes) => {
      const to = await connected();
      to.send(Buffer.concat([peer.deliver(to), bytes]));
      // Whoever waits for the rest of it is told that there is none.
      await peer.hangUp();
      await sentinel(await connected());
    },
    25,
    examples,
  );
  expect(process.memoryUsage.rss() - rssBefore).toBeLessThan(300_000_000);
}, LIMIT_MS);
