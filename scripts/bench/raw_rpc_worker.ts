/** The other half of the raw RPC: answers each message of a queue with its own body. */
import { AMQPClient } from "@cloudamqp/amqp-client";

const [url = "", queue = ""] = process.argv.slice(2);
const PREFETCH = 256;

const client = new AMQPClient(`${url}?frameMax=131072&heartbeat=30`);
await client.connect();
const channel = await client.channel();
await channel.queueDeclare(queue);
await channel.basicQos(PREFETCH);
await channel.basicConsume(queue, { noAck: false }, (message) => {
  const { replyTo = "", correlationId = "" } = message.properties;
  // A failure ends this process, and with it the round.
  void channel.basicPublish("", replyTo, message.body, { correlationId });
  void message.ack();
});
console.log("ready");
