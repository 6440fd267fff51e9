/** What a message carries beside its body arrives as it was sent. */
import { expect } from "bun:test";
import fc from "fast-check";
import type { HeaderValue, MessageProperties } from "../../../src/broker/message.ts";
import { Reader, type SceneTest, toQueue } from "./scene.ts";

const instants = fc.integer({ min: 0, max: 4_000_000_000 }).map((seconds) =>
  new Date(seconds * 1000)
);
const texts = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 })
  .filter((text) => text.isWellFormed() && Buffer.byteLength(text) <= 255);
/** Names that a plain JavaScript object can hold as a property of its own. */
const headerNames = texts.filter((name) => name !== "__proto__");

const { value: headerValues } = fc.letrec<{ value: HeaderValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.string({ unit: "grapheme", maxLength: 300 }).filter((text) => text.isWellFormed()),
    fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    fc.bigInt({ min: -(2n ** 53n) + 1n, max: 2n ** 53n - 1n }),
    fc.boolean(),
    fc.constant(null),
    instants,
    fc.uint8Array({ maxLength: 40 }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(headerNames, tie("value"), { maxKeys: 4 }),
  ),
}));

const properties: fc.Arbitrary<MessageProperties> = fc.record({
  contentType: texts,
  contentEncoding: texts,
  headers: fc.dictionary(headerNames, headerValues, { maxKeys: 8 }),
  persistent: fc.boolean(),
  priority: fc.integer({ min: 1, max: 255 }),
  correlationId: texts,
  replyTo: texts,
  expirationMs: fc.integer({ min: 600_000, max: 2 ** 31 }),
  messageId: texts,
  timestamp: instants,
  type: texts,
  appId: texts,
}, { requiredKeys: [] });

export function propertiesSurvive(it: SceneTest): void {
  it("every property and every header type arrives as it was sent", async (scene) => {
    const queue = await scene.queue();
    const reader = new Reader(await scene.broker.consume(queue, { prefetch: 10 }));
    await fc.assert(
      fc.asyncProperty(properties, fc.uint8Array({ maxLength: 100 }), async (sent, body) => {
        const message = { exchange: "", routingKey: queue, properties: sent, body };
        await scene.broker.publish(message, { confirm: true });
        const delivery = await reader.next();
        delivery.ack();
        expect(delivery.unreadable).toBeUndefined();
        expect(plain(delivery.message.properties)).toEqual(plain(sent));
        expect(Buffer.compare(delivery.message.body, body)).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  it("a message without properties has none when it arrives", async (scene) => {
    const queue = await scene.queue();
    await scene.broker.publish(toQueue(queue, "bare"));
    const consumer = await scene.broker.consume(queue, { prefetch: 1 });
    const delivery = await new Reader(consumer).next();
    expect(plain(delivery.message.properties)).toEqual({});
  });

  it("odd characters in names and keys arrive", async (scene) => {
    const name = `${scene.name()} ☃/%20\u{1F40B}."'\\`;
    await scene.broker.declareQueue({ name });
    const exchange = await scene.exchange("direct");
    const routingKey = "ключ #*. \u{1F40B}";
    await scene.broker.bind({ exchange, queue: name, routingKey });
    const body = new TextEncoder().encode("x");
    await scene.broker.publish({ exchange, routingKey, properties: {}, body }, { confirm: true });
    const delivery = await new Reader(await scene.broker.consume(name, { prefetch: 1 })).next();
    expect(delivery.queue).toBe(name);
    expect(delivery.message.routingKey).toBe(routingKey);
    await scene.broker.deleteQueue(name);
  });
}

/**
 * The same shape for what means the same: an integer is an integer whichever JavaScript type carries
 * it, no headers are empty headers, not persistent is the default.
 */
function plain(given: MessageProperties): Record<string, unknown> {
  const { headers, persistent, ...rest } = given;
  const names = Object.keys(headers ?? {});
  return {
    ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)),
    ...(headers === undefined || names.length === 0 ? {} : { headers: plainValue(headers) }),
    ...(persistent === true ? { persistent } : {}),
  };
}

function plainValue(value: HeaderValue): unknown {
  if (typeof value === "bigint" || typeof value === "number") return BigInt(value);
  if (value === null || typeof value !== "object") return value;
  if (value instanceof Date) return { instant: value.getTime() };
  if (value instanceof Uint8Array) return { bytes: [...value] };
  if (Array.isArray(value)) return value.map(plainValue);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainValue(item)]));
}
