/**
 * The yardstick for HTTP: a bare Hono route over the raw RPC, in a process of its own.
 * `bun scripts/bench/bare_front.ts AMQP_URL QUEUE` prints its address.
 */
import { AMQPClient } from "@cloudamqp/amqp-client";
import { Hono } from "hono";

const [url = "", queue = ""] = process.argv.slice(2);
const client = new AMQPClient(`${url}?frameMax=131072&heartbeat=30`);
await client.connect();
const channel = await client.channel();
const replies = await channel.queueDeclare("", { exclusive: true });
const waiting = new Map<string, (body: string) => void>();
await channel.basicConsume(replies.name, { noAck: true }, (reply) => {
  const { correlationId = "" } = reply.properties;
  waiting.get(correlationId)?.(reply.bodyString() ?? "");
  waiting.delete(correlationId);
});
let calls = 0;
const app = new Hono();
app.post("/call", async (c) => {
  const input: unknown = await c.req.json();
  const correlationId = String(calls++);
  const reply = await new Promise<string>((resolve, reject) => {
    waiting.set(correlationId, resolve);
    channel.basicPublish("", queue, JSON.stringify(input), { correlationId, replyTo: replies.name })
      .catch(reject);
  });
  return c.json(JSON.parse(reply));
});
const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: app.fetch });
console.log(`http://127.0.0.1:${server.port}`);
