/**
 * The yardstick of channels: one publisher and one consumer of a topic, written directly on the AMQP
 * client, each message confirmed as the program's are.
 */
import { AMQPClient } from "@cloudamqp/amqp-client";

export interface TopicRun {
  /** AMQP URL of a RabbitMQ on this machine. */
  readonly url: string;
  readonly messages: number;
  /** Publishes that wait for their confirm at once. */
  readonly concurrency: number;
  readonly body: Uint8Array;
  /** The queue is durable, messages are persistent, and each is acked. Default false. */
  readonly isAcked?: boolean;
}

/** Messages a second, from the first publish to the last delivery. */
export async function runRawTopic(
  { url, messages, concurrency, body, isAcked = false }: TopicRun,
): Promise<number> {
  const exchange = `cox-bench.${crypto.randomUUID()}`;
  const client = new AMQPClient(`${url}?frameMax=131072&heartbeat=30`);
  await client.connect();
  const consuming = await client.channel();
  await consuming.exchangeDeclare(exchange, "topic", { durable: false, autoDelete: true });
  const queue = isAcked
    ? await consuming.queueDeclare(exchange, { durable: true, autoDelete: true })
    : await consuming.queueDeclare("", { exclusive: true });
  await consuming.queueBind(queue.name, exchange, "#");
  const all = Promise.withResolvers<void>();
  let received = 0;
  if (isAcked) await consuming.basicQos(concurrency);
  await consuming.basicConsume(queue.name, { noAck: !isAcked }, async (message) => {
    if (isAcked) await message.ack();
    if (++received === messages) all.resolve();
  });
  const properties = isAcked ? { deliveryMode: 2 } : {};
  const publishing = await client.channel();
  await publishing.confirmSelect();
  let published = 0;
  const start = performance.now();
  await Promise.all(Array.from({ length: concurrency }, async () => {
    while (published < messages) {
      published += 1;
      await publishing.basicPublish(exchange, "bench", body, properties);
    }
  }));
  await all.promise;
  const seconds = (performance.now() - start) / 1_000;
  await client.close();
  return messages / seconds;
}
