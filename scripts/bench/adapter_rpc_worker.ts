/** The other half of the adapter's RPC: answers each message of a queue with its own body. */
import { createAmqpBroker } from "../../src/broker/amqp/amqp_broker.ts";

const [url = "", queue = ""] = process.argv.slice(2);
const PREFETCH = 256;

const broker = createAmqpBroker({ url, name: "bench worker" });
await broker.start();
await broker.declareQueue({ name: queue });
const consumer = await broker.consume(queue, { prefetch: PREFETCH });
console.log("ready");
for await (const delivery of consumer) {
  const { properties: { correlationId = "", replyTo = "" }, body } = delivery.message;
  // A failure ends this process, and with it the round.
  void broker.publish({
    exchange: "",
    routingKey: replyTo,
    properties: { correlationId },
    body,
  });
  delivery.ack();
}
