/**
 * How fast the embedded broker is by itself: no isolates, no HTTP, no wire format.
 *
 * - transient: publish, consume and ack on one queue, as a caller and a worker in one process do
 * - rpc: a request to a queue and a reply to a private queue, 64 in flight
 * - durable: confirmed publishes from 64 concurrent publishers, taken and acked by one consumer
 *
 * Usage: bun scripts/bench_embedded_broker.ts [--data DIR] [--rounds N]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Broker } from "../src/broker/broker.ts";
import { EmbeddedBroker } from "../src/broker/embedded/embedded_broker.ts";
import type { Message } from "../src/broker/message.ts";

const { values } = parseArgs({
  options: { data: { type: "string" }, rounds: { type: "string", default: "5" } },
});
const rounds = Number(values.rounds);
const dataDir = values.data ?? mkdtempSync(join(tmpdir(), "cox-bench-"));
const body = new TextEncoder().encode(JSON.stringify([[1, 2], {}, { chain: null }]));

/** What one round of each kind does, and how many operations it is. */
const benches: Readonly<Record<string, { count: number; run: (count: number) => Promise<void> }>> =
  {
    "transient publish + consume + ack": { count: 400_000, run: transient },
    "rpc, 64 in flight": { count: 200_000, run: rpc },
    "durable confirmed, 64 publishers": { count: 100_000, run: (count) => durable(count, true) },
    "durable confirmed, 64 publishers, backlog": {
      count: 100_000,
      run: (count) => durable(count, false),
    },
  };

const engine = new EmbeddedBroker({ dataDir });
const broker: Broker = engine.connect();
await broker.start();
for (const [name, { count, run }] of Object.entries(benches)) {
  await run(count / 10);
  const rates: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    await run(count);
    rates.push(count / (performance.now() - start) * 1000);
  }
  rates.sort((a, b) => a - b);
  const median = rates[Math.floor(rates.length / 2)] ?? 0;
  console.log(
    `${name.padEnd(42)} ${Math.round(median).toLocaleString("en").padStart(11)}/s` +
      `  ${(1e6 / median).toFixed(2)} µs each`,
  );
}
await engine.stop();
if (values.data === undefined) rmSync(dataDir, { recursive: true });

async function transient(count: number): Promise<void> {
  const queue = await freshQueue();
  const consumer = await broker.consume(queue, { prefetch: 64 });
  const consuming = (async () => {
    let left = count;
    for await (const delivery of consumer) {
      delivery.ack();
      if (--left === 0) break;
    }
  })();
  for (let sent = 0; sent < count; sent++) await broker.publish(request(queue, "", sent));
  await consuming;
  await broker.deleteQueue(queue);
}

async function rpc(count: number): Promise<void> {
  const queue = await freshQueue();
  const replies = await broker.openPrivateQueue({ prefix: "reply" });
  const replyTo = replies.name ?? "";
  const consumer = await broker.consume(queue, { prefetch: 64 });
  const serving = (async () => {
    for await (const delivery of consumer) {
      const { replyTo: address = "", correlationId = "" } = delivery.message.properties;
      await broker.publish({
        exchange: "",
        routingKey: address,
        properties: { correlationId, contentType: "application/json" },
        body,
      });
      delivery.ack();
    }
  })();
  let sent = 0;
  let answered = 0;
  const send = () => broker.publish(request(queue, replyTo, sent++), { mandatory: true });
  while (sent < 64) await send();
  for await (const _ of replies) {
    if (++answered === count) break;
    if (sent < count) await send();
  }
  await consumer.close();
  await serving;
  await broker.deleteQueue(queue);
}

async function durable(count: number, isConsumedAtOnce: boolean): Promise<void> {
  const queue = await freshQueue();
  const consume = async () => {
    const consumer = await broker.consume(queue, { prefetch: 64 });
    let left = count;
    for await (const delivery of consumer) {
      delivery.ack();
      if (--left === 0) break;
    }
  };
  const consuming = isConsumedAtOnce ? consume() : undefined;
  let sent = 0;
  await Promise.all(Array.from({ length: 64 }, async () => {
    while (sent < count) {
      const message = request(queue, "", sent++);
      const properties = { ...message.properties, persistent: true };
      await broker.publish({ ...message, properties }, { confirm: true, mandatory: true });
    }
  }));
  await (consuming ?? consume());
  await broker.deleteQueue(queue);
}

async function freshQueue(): Promise<string> {
  const name = `bench.${crypto.randomUUID()}`;
  await broker.declareQueue({ name, maxPriority: 10 });
  return name;
}

/** A message of the shape and size of a call. */
function request(queue: string, replyTo: string, number: number): Message {
  const id = `0190a0c0-0000-7000-8000-${String(number).padStart(12, "0")}`;
  return {
    exchange: "",
    routingKey: queue,
    properties: {
      contentType: "application/json",
      contentEncoding: "utf-8",
      correlationId: id,
      replyTo,
      expirationMs: 30_000,
      headers: {
        lang: "js",
        task: "math.add",
        id,
        root_id: id,
        parent_id: null,
        group: null,
        retries: 0,
        timelimit: [300, null],
        eta: null,
        expires: "2030-01-01T00:00:00.000Z",
        origin: "bench",
        "cox-version": "1",
        "cox-kind": "call",
      },
    },
    body,
  };
}
