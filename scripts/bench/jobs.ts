/**
 * Jobs: how many a second are accepted over HTTP, and how many are finished end to end (accepted, run
 * in an isolate, recorded), beside confirmed publishes and acked deliveries written directly on the
 * AMQP client, on the same broker in the same run.
 */
import { AMQPClient } from "@cloudamqp/amqp-client";
import { startPostgres } from "../services/postgres.ts";
import { startRabbitMq } from "../services/rabbitmq.ts";
import { openConnection } from "./http_client.ts";
import { startApp } from "./nodes.ts";
import { measure } from "./stats.ts";

const BODY = new TextEncoder().encode('[["hello"],{},{"callbacks":null,"chain":null}]');
const BULK = 500;
const IN_FLIGHT = 64;
/** Finishing that stands still for so long has failed. */
const STALL_MS = 60_000;

export interface JobBenchOptions {
  readonly isQuick: boolean;
}

export async function benchJobs({ isQuick }: JobBenchOptions): Promise<void> {
  const count = isQuick ? 4_000 : 20_000;
  for (const type of ["classic", "quorum"] as const) {
    for (const store of ["sqlite", "postgres"] as const) {
      await using services = new AsyncDisposableStack();
      const rabbit = await startRabbitMq();
      services.defer(() => rabbit.dispose());
      const raw = await rawRates(rabbit.url, type, count);
      tell(`raw, ${type}: publishes confirmed`, raw.published);
      tell(`raw, ${type}: deliveries acked`, raw.acked);
      const args = ["--amqp-url", rabbit.url, "--queue-type", type];
      if (store === "postgres") {
        const postgres = await startPostgres();
        services.defer(() => postgres.dispose());
        args.push("--store", postgres.url);
      }
      const app = services.use(await startApp("all", "--port", "0", "--isolates", "2", ...args));
      await rates(`RabbitMQ ${type}, ${store}`, app.url, count, raw);
    }
  }
  await using embedded = await startApp("all", "--port", "0", "--isolates", "2");
  await rates("embedded, sqlite", embedded.url, count);
  await backlog(isQuick ? [1_000, 10_000] : [1_000, 100_000]);
}

interface RawRates {
  readonly published: number;
  readonly acked: number;
}

async function rawRates(url: string, type: "classic" | "quorum", count: number): Promise<RawRates> {
  const client = new AMQPClient(`${url}?frameMax=131072&heartbeat=30`);
  await client.connect();
  const channel = await client.channel();
  const queue = `cox-bench.${crypto.randomUUID()}`;
  await channel.queueDeclare(queue, { durable: true }, { "x-queue-type": type });
  await channel.confirmSelect();
  const startedAt = performance.now();
  let sent = 0;
  await Promise.all(Array.from({ length: IN_FLIGHT }, async () => {
    while (sent < count) {
      sent++;
      await channel.basicPublish("", queue, BODY, { deliveryMode: 2 });
    }
  }));
  const published = sent / (performance.now() - startedAt) * 1_000;
  const consuming = performance.now();
  let acked = 0;
  await channel.basicQos(64);
  await new Promise<void>((resolve) => {
    void channel.basicConsume(queue, { noAck: false }, (message) => {
      void message.ack();
      if (++acked === sent) resolve();
    });
  });
  const rate = acked / (performance.now() - consuming) * 1_000;
  await channel.queueDelete(queue);
  await client.close();
  return { published, acked: rate };
}

async function rates(name: string, url: string, count: number, raw?: RawRates): Promise<void> {
  const connections = await Promise.all(
    Array.from({ length: IN_FLIGHT }, () => openConnection(`${url}/tasks/echo/jobs`, '["hello"]')),
  );
  const single = await measure(async () => {
    const connection = connections.pop();
    if (connection === undefined) return false;
    const isAccepted = await connection.request();
    connections.push(connection);
    return isAccepted;
  }, { concurrency: IN_FLIGHT, seconds: 3 });
  for (const connection of connections) connection.close();
  tell(`${name}: accepted one by one over HTTP`, single.perSecond, raw?.published);
  await finished(url);
  const [accepted, done] = await bulk(url, count);
  tell(`${name}: accepted ${BULK} at once over HTTP`, accepted, raw?.published);
  tell(`${name}: finished end to end`, done, raw?.acked);
}

/** Jobs a second: accepted, and finished from the first request on. */
async function bulk(url: string, count: number): Promise<readonly [number, number]> {
  const startedAt = performance.now();
  const sent = await submit(url, count);
  const accepted = sent / (performance.now() - startedAt) * 1_000;
  await finished(url);
  return [accepted, sent / (performance.now() - startedAt) * 1_000];
}

/** @returns how many: a multiple of what goes at once. */
async function submit(url: string, count: number): Promise<number> {
  const body = JSON.stringify(
    Array.from({ length: BULK }, () => ({ task: "echo", input: ["hello"] })),
  );
  let left = Math.ceil(count / BULK);
  const sent = left * BULK;
  await Promise.all(Array.from({ length: 4 }, async () => {
    while (left-- > 0) {
      const response = await fetch(`${url}/jobs`, { method: "POST", body });
      if (response.status !== 202) throw new Error(`${response.status} ${await response.text()}`);
      await response.arrayBuffer();
    }
  }));
  return sent;
}

/** Resolves when no job is unfinished as the store has it. */
async function finished(url: string): Promise<void> {
  const giveUpAt = performance.now() + STALL_MS;
  const states = ["queued", "scheduled", "running", "retrying"];
  const query = `state=${states.join(",")}`;
  while (true) {
    const jobs: unknown = await (await fetch(`${url}/jobs?limit=1&${query}`)).json();
    if (Array.isArray(jobs) && jobs.length === 0) return;
    if (performance.now() > giveUpAt) {
      throw new Error(`Jobs are unfinished: ${JSON.stringify(jobs)}`);
    }
    await Bun.sleep(20);
  }
}

/** How the embedded rate and memory hold as more waits. */
async function backlog(sizes: readonly number[]): Promise<void> {
  for (const size of sizes) {
    await using app = await startApp("all", "--port", "0", "--isolates", "2");
    await fetch(`${app.url}/queues/demo/pause`, { method: "POST" });
    await submit(app.url, size);
    const before = performance.now();
    await fetch(`${app.url}/queues/demo/resume`, { method: "POST" });
    await finished(app.url);
    const rate = size / (performance.now() - before) * 1_000;
    const status = await Bun.file(`/proc/${app.pid}/status`).text();
    const peak = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1_024;
    tell(`embedded, a backlog of ${size}, at most ${peak.toFixed(0)} MB`, rate);
  }
}

function tell(name: string, rate: number, beside?: number): void {
  const ratio = beside === undefined ? "" : `  ${(rate / beside).toFixed(2)} × raw`;
  console.log(`${name.padEnd(58)} ${rate.toFixed(0).padStart(8)} a second${ratio}`);
}
