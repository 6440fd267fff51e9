/**
 * Many event streams under a steady rate: whether each gets every message in order, how late, and what
 * that takes of the front.
 */
import { readEventStream } from "../../src/cli/event_stream.ts";
import { openConnection } from "./http_client.ts";
import { cpuMicros, type RunningApp } from "./nodes.ts";
import { OrderOfIds } from "./order_of_ids.ts";
import { openReaders } from "./readers.ts";
import { percentile } from "./stats.ts";

export interface Pace {
  readonly subscribers: number;
  readonly perSecond: number;
  readonly seconds: number;
}

export interface Paced {
  /** Messages that were published a second, as far as the machine let them be in time. */
  readonly publishedPerSecond: number;
  /** From a message's publish until a stream that is read beside the others has it. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** From the last publish until every stream has got all. */
  readonly tailMs: number;
  /** Share of one processor that the front took. */
  readonly cpuShare: number;
}

/** Publishers that take turns; each sends its next message when the one before is taken. */
const LANES = 64;

/** @throws Error where a stream misses a message, or gets them in another order than they were sent. */
export async function runPaced(
  app: RunningApp,
  { subscribers, perSecond, seconds }: Pace,
): Promise<Paced> {
  const url = `${app.url}/channels/bench.paced`;
  const messages = perSecond * seconds;
  const lanes = await Promise.all(Array.from({ length: LANES }, () => openConnection(url, "0")));
  await using readers = await openReaders(url, subscribers - 1, "--order");
  const witness = await openWitness(url, messages);
  const cpuBefore = cpuMicros(app.pid);
  const start = performance.now();
  let next = 0;
  await Promise.all(lanes.map(async (connection, lane) => {
    for (let n = next++; n < messages; n = next++) {
      const due = start + n * 1_000 / perSecond;
      const early = due - performance.now();
      if (early > 0) await Bun.sleep(early);
      const body = JSON.stringify({ lane, n, sentAt: performance.now(), text: "x".repeat(60) });
      if (!(await connection.request(body))) throw new Error("A message was not taken");
    }
  }));
  const publishedMs = performance.now() - start;
  let counts = await readers.counts();
  while (counts.least < messages) {
    await Bun.sleep(5);
    counts = await readers.counts();
  }
  const { order, latenciesMs } = await witness.ended;
  const endedMs = performance.now() - start;
  const cpuShare = (cpuMicros(app.pid) - cpuBefore) / 1_000 / endedMs;
  for (const connection of lanes) connection.close();
  const { all, orders, checksum } = counts;
  if (all !== messages * (subscribers - 1) || orders !== 1 || checksum !== order) {
    throw new Error(
      `${all} events came in ${orders} orders: ${messages} for each, in one, were right`,
    );
  }
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  return {
    publishedPerSecond: messages / publishedMs * 1_000,
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    tailMs: endedMs - publishedMs,
    cpuShare,
  };
}

interface Witnessed {
  /** See `OrderOfIds`. */
  readonly order: number;
  readonly latenciesMs: readonly number[];
}

/** Opens one more stream, whose messages are looked at one by one. */
async function openWitness(
  url: string,
  messages: number,
): Promise<{ readonly ended: Promise<Witnessed> }> {
  const response = await fetch(url, { headers: { accept: "text/event-stream" } });
  const { body } = response;
  if (!response.ok || body === null) throw new Error(`No stream: ${response.status}`);
  return { ended: witnessed(body, messages) };
}

interface Sent {
  readonly message: { readonly lane: number; readonly n: number; readonly sentAt: number };
}

/** @throws Error where a message is missing, comes twice, or goes before an earlier one of its lane. */
async function witnessed(body: ReadableStream<Uint8Array>, messages: number): Promise<Witnessed> {
  const order = new OrderOfIds();
  const latenciesMs: number[] = [];
  const lastOfLane = new Map<number, number>();
  const encoder = new TextEncoder();
  for await (const { id, data } of readEventStream(body)) {
    if (data === undefined) continue;
    const { message: { lane, n, sentAt } }: Sent = JSON.parse(data);
    if (n <= (lastOfLane.get(lane) ?? -1)) throw new Error(`Message ${n} came too late`);
    lastOfLane.set(lane, n);
    order.add(encoder.encode(id));
    latenciesMs.push(performance.now() - sentAt);
    if (latenciesMs.length === messages) break;
  }
  return { order: order.checksum, latenciesMs };
}
