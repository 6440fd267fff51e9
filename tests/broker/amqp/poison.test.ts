/** Messages that the client library cannot read. */
import { expect, test } from "bun:test";
import { sharedRabbitMq } from "../../../scripts/services/rabbitmq.ts";
import { HAS_HEADERS, publishRaw, shortString, table, uint16 } from "../../support/raw_amqp.ts";
import { Reader, Stage, TEST_LIMIT_MS, textOf, toQueue } from "./scene.ts";

const rabbit = await sharedRabbitMq();

const EIGHT_BYTES = Buffer.from([0, 0, 0, 0, 0, 0, 0, 7]);
const unreadableHeaders: Readonly<Record<string, Buffer>> = {
  'a header of type "L"': table(["odd", "L", EIGHT_BYTES]),
  "an odd header between good ones": table(
    ["good", "t", Buffer.of(1)],
    ["odd", "L", EIGHT_BYTES],
    ["also good", "t", Buffer.of(0)],
  ),
  "an odd header in a table in a table": table(["outer", "F", table(["inner", "L", EIGHT_BYTES])]),
};

for (const [what, headers] of Object.entries(unreadableHeaders)) {
  for (const body of ["the body", ""]) {
    test(
      `${what}, ${body === "" ? "without" : "with"} a body: arrives marked, and the stream goes on`,
      async () => {
        await using stage = new Stage(rabbit);
        const broker = await stage.connect();
        const queue = stage.name();
        await broker.declareQueue({ name: queue });
        const reader = new Reader(await broker.consume(queue, { prefetch: 10 }));
        const properties = Buffer.concat([uint16(HAS_HEADERS), headers]);
        await publishRaw(rabbit.port, { queue, properties, body: Buffer.from(body) });
        const poisoned = await reader.next();
        expect(poisoned.unreadable).toBeString();
        expect(textOf(poisoned)).toBe(body);
        expect(poisoned.message.properties).toEqual({ headers: {} });
        poisoned.nack({ requeue: false });
        await broker.publish(toQueue(queue, "next", { headers: { a: 1 } }));
        const next = await reader.next();
        expect(next.unreadable).toBeUndefined();
        expect(textOf(next)).toBe("next");
        expect(broker.state.kind).toBe("connected");
      },
      TEST_LIMIT_MS,
    );
  }
}

test("what stands behind an unreadable header is read: whoever waits can be answered", async () => {
  await using stage = new Stage(rabbit);
  const broker = await stage.connect();
  const queue = stage.name();
  await broker.declareQueue({ name: queue });
  const HAS_CORRELATION_AND_REPLY_TO = 0x0600;
  const properties = Buffer.concat([
    uint16(HAS_HEADERS | HAS_CORRELATION_AND_REPLY_TO),
    table(["odd", "L", EIGHT_BYTES]),
    shortString("c-1"),
    shortString("somewhere"),
  ]);
  await publishRaw(rabbit.port, { queue, properties, body: Buffer.from("x") });
  const delivery = await new Reader(await broker.consume(queue, { prefetch: 1 })).next();
  expect(delivery.message.properties).toEqual({
    headers: {},
    correlationId: "c-1",
    replyTo: "somewhere",
  });
});
