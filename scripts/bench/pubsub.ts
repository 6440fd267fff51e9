/**
 * Channels: messages from HTTP publishes to event streams, beside a bare AMQP publish and consume, and
 * what a subscriber costs in memory. Readers run in a process of their own, on the same processors.
 */
import type { RabbitMq } from "../services/rabbitmq.ts";
import { openConnection } from "./http_client.ts";
import { cpuMicros, residentKiB, type RunningApp, startApp } from "./nodes.ts";
import { runPaced } from "./pacing.ts";
import { openReaders } from "./readers.ts";
import { runRawTopic } from "./raw_topic.ts";
import { median } from "./stats.ts";

/** Publishes in flight. */
const CONCURRENCY = 64;
const MESSAGE = JSON.stringify({ order: 7, state: "paid", text: "x".repeat(60) });
const CHANNEL = "bench.orders";
/** Subscribers → messages that are published to them. */
const SIZES: ReadonlyMap<number, number> = new Map([[1, 10_000], [100, 4_000], [1_000, 2_000]]);
/** WebSockets, in turn. */
const SOCKETS = 1_000;
const IDLE_SUBSCRIBERS = 1_000;
/** Less than the time after which streams are kept alive, whose frames come at different places. */
const PACE = { subscribers: 1_000, perSecond: 1_000, seconds: 8 };

export async function pubsub(rabbit: RabbitMq, rounds: number): Promise<void> {
  await using overRabbit = await startApp("serve", "--port", "0", "--amqp-url", rabbit.url);
  await using embedded = await startApp("all", "--port", "0");
  const fronts = [["RabbitMQ", overRabbit], ["embedded", embedded]] as const;
  const body = new TextEncoder().encode(MESSAGE);
  const messages = SIZES.get(1) ?? 0;
  const bare: number[] = [];
  const figures = new Map<string, Delivered[]>();
  for (let round = 0; round < rounds; round++) {
    bare.push(await runRawTopic({ url: rabbit.url, messages, concurrency: CONCURRENCY, body }));
    for (const [name, app] of fronts) {
      for (const [subscribers, messages] of SIZES) {
        const key = `${name}, ${subscribers} ${subscribers === 1 ? "stream" : "streams"}`;
        const known = figures.get(key) ?? [];
        figures.set(key, [...known, await fanOut(app, subscribers, messages)]);
      }
      const key = `${name}, ${SOCKETS} sockets`;
      const known = figures.get(key) ?? [];
      const messages = SIZES.get(SOCKETS) ?? 0;
      figures.set(key, [...known, await fanOut(app, SOCKETS, messages, "--sockets")]);
    }
  }
  const yardstick = median(bare);
  tell("bare AMQP, publish with confirm, consume", `${Math.round(yardstick)}/s`);
  for (const [key, results] of figures) {
    const published = median(results.map(({ publishedPerSecond }) => publishedPerSecond));
    const delivered = median(results.map(({ deliveredPerSecond }) => deliveredPerSecond));
    const cpu = median(results.map(({ cpuMicros }) => cpuMicros));
    tell(
      `POST to subscribers, ${key}`,
      `${Math.round(published)}/s  ${(published / yardstick).toFixed(2)} ×  ` +
        `delivered ${Math.round(delivered)}/s  ${cpu.toFixed(1)} µs of the front each`,
    );
  }
  for (const [name, app] of fronts) {
    const paced = await runPaced(app, PACE);
    tell(
      `${PACE.perSecond}/s to ${PACE.subscribers} streams for ${PACE.seconds} s, ${name}`,
      `all in order; published ${Math.round(paced.publishedPerSecond)}/s  ` +
        `p50 ${paced.p50Ms.toFixed(1)} ms  p99 ${paced.p99Ms.toFixed(1)} ms  ` +
        `all had all ${Math.round(paced.tailMs)} ms after the last  ` +
        `${Math.round(paced.cpuShare * 100)} % of a processor`,
    );
  }
  tell("memory of a subscriber that waits", `${(await memory()).toFixed(1)} KiB`);
}

interface Delivered {
  readonly publishedPerSecond: number;
  readonly deliveredPerSecond: number;
  /** Processor time of the front for each event that it delivered. */
  readonly cpuMicros: number;
}

/** From the first publish until every subscriber has got every message. */
async function fanOut(
  app: RunningApp,
  subscribers: number,
  messages: number,
  ...how: "--sockets"[]
): Promise<Delivered> {
  const url = `${app.url}/channels/${CHANNEL}`;
  await using readers = await openReaders(url, subscribers, ...how);
  const connections = await Promise.all(
    Array.from({ length: CONCURRENCY }, () => openConnection(url, MESSAGE)),
  );
  const cpuBefore = cpuMicros(app.pid);
  const start = performance.now();
  let published = 0;
  await Promise.all(connections.map(async (connection) => {
    while (published < messages) {
      published += 1;
      if (!(await connection.request())) throw new Error("A message was not taken");
    }
  }));
  let got = await readers.counts();
  while (got.least < messages) {
    await Bun.sleep(2);
    got = await readers.counts();
  }
  const seconds = (performance.now() - start) / 1_000;
  for (const connection of connections) connection.close();
  if (got.all !== messages * subscribers) {
    throw new Error(`${got.all} events came, and ${messages * subscribers} were right`);
  }
  return {
    publishedPerSecond: messages / seconds,
    deliveredPerSecond: got.all / seconds,
    cpuMicros: (cpuMicros(app.pid) - cpuBefore) / got.all,
  };
}

/** Of one stream in a front that has done nothing else, in KiB. */
async function memory(): Promise<number> {
  await using app = await startApp("all", "--port", "0");
  const before = residentKiB(app.pid);
  await using _readers = await openReaders(`${app.url}/channels/idle`, IDLE_SUBSCRIBERS);
  return (residentKiB(app.pid) - before) / IDLE_SUBSCRIBERS;
}

function tell(name: string, figure: string): void {
  console.log(`${name.padEnd(52)} ${figure}`);
}
