/**
 * One Celery client, and in turn a Celery worker (prefork, 2 processes) and ours (2 isolates) on its
 * queue: calls whose results are collected, a preloaded queue that is drained, calls one after the
 * other, and what processor time the worker takes for each task.
 */
import { readdirSync, readFileSync } from "node:fs";
import { createAmqpBroker } from "../../src/broker/amqp/amqp_broker.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { celeryVhost, CeleryWorker, ensureCelery, python } from "../services/celery.ts";
import type { RabbitMq } from "../services/rabbitmq.ts";
import { cpuMicros, startApp } from "./nodes.ts";
import { median, percentile } from "./stats.ts";

const TASKS = new URL("../../tests/support/tasks/celery.ts", import.meta.url).pathname;
const QUEUE = "celery";
/** A worker that takes nothing for so long hangs. */
const STALL_MS = 60_000;

interface RunningWorker extends AsyncDisposable {
  readonly pid: number;
}

interface Contender {
  readonly name: string;
  readonly start: (url: string) => Promise<RunningWorker>;
}

const CONTENDERS: readonly Contender[] = [
  {
    name: "Celery worker, prefork 2",
    start: (url) => {
      ensureCelery();
      // Its default level: a line for each task would be most of its work.
      const options = { url, concurrency: 2, args: ["-l", "WARNING"] };
      return Promise.resolve(new CeleryWorker(options, "bench@celery"));
    },
  },
  {
    name: "Coxswain worker, 2 isolates",
    start: (url) =>
      startApp(
        ...["work", "--amqp-url", url, "--tasks", TASKS],
        ...["--isolates", "2", "--queues", QUEUE, "--no-demo"],
      ),
  },
];

interface Figures {
  readonly collectedPerSecond: number;
  readonly drainedPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the worker with its children, for each task, while results are collected. */
  readonly cpuMicrosPerCall: number;
  /** The same while a queue is drained. */
  readonly cpuMicrosPerDrained: number;
}

export async function benchCelery(rabbit: RabbitMq, isQuick: boolean): Promise<void> {
  const rounds = isQuick ? 1 : 3;
  const counts = isQuick
    ? { collected: 500, drained: 2_000, sequential: 200 }
    : { collected: 2_000, drained: 5_000, sequential: 500 };
  const url = celeryVhost(rabbit, "bench-celery");
  const broker = createAmqpBroker({ url, name: "bench" });
  await broker.start(AbortSignal.timeout(10_000));
  try {
    const figures = CONTENDERS.map((): Figures[] => []);
    for (let round = 0; round < rounds; round++) {
      for (const [index, contender] of CONTENDERS.entries()) {
        figures[index]?.push(await measureOne(contender, { url, broker, counts }));
      }
    }
    tell(figures.map(medians));
  } finally {
    await broker.stop();
  }
}

interface Scene {
  readonly url: string;
  readonly broker: Broker;
  readonly counts: {
    readonly collected: number;
    readonly drained: number;
    readonly sequential: number;
  };
}

async function measureOne(contender: Contender, { url, broker, counts }: Scene): Promise<Figures> {
  await broker.declareQueue({ name: QUEUE });
  await client(url, "preload", counts.drained);
  await using worker = await contender.start(url);

  // From the first that it takes: a start is not what is measured here.
  const ready = await depthBelow(broker, counts.drained);
  const [drainAt, drainCpu] = [performance.now(), treeCpuMicros(worker.pid)];
  await depthBelow(broker, 1);
  const drainMs = performance.now() - drainAt;
  const drainedMicros = treeCpuMicros(worker.pid) - drainCpu;

  const before = treeCpuMicros(worker.pid);
  const { seconds } = await client(url, "collect", counts.collected);
  const micros = treeCpuMicros(worker.pid) - before;
  const { durations } = await client(url, "sequential", counts.sequential);
  const sorted = (durations as number[]).toSorted((a, b) => a - b);
  return {
    collectedPerSecond: counts.collected / Number(seconds),
    drainedPerSecond: ready / drainMs * 1_000,
    p50Ms: median(sorted),
    p99Ms: percentile(sorted, 0.99),
    cpuMicrosPerCall: micros / counts.collected,
    cpuMicrosPerDrained: drainedMicros / ready,
  };
}

async function client(url: string, what: string, count: number): Promise<Record<string, unknown>> {
  const [told = {}] = await python("import load", { url, args: [what, String(count)] });
  return told;
}

/** Waits until fewer messages are ready than that. @returns how many then are. */
async function depthBelow(broker: Broker, most: number): Promise<number> {
  const deadline = performance.now() + STALL_MS;
  while (performance.now() < deadline) {
    const { messages } = await broker.inspectQueue(QUEUE) ?? { messages: 0 };
    if (messages < most) return messages;
    await Bun.sleep(5);
  }
  throw new Error(`Queue "${QUEUE}" was not below ${most} messages within ${STALL_MS} ms`);
}

/** Of a process with all its descendants. */
function treeCpuMicros(root: number): number {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const parent = parentOf(Number(name));
    if (parent !== undefined) children.set(parent, [...children.get(parent) ?? [], Number(name)]);
  }
  const sum = (pid: number): number =>
    cpuMicros(pid) + (children.get(pid) ?? []).reduce((micros, child) => micros + sum(child), 0);
  return sum(root);
}

function parentOf(pid: number): number | undefined {
  if (!Number.isInteger(pid)) return undefined;
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[1]);
  } catch (error) {
    // It has ended since the list was made.
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
}

function medians(rounds: readonly Figures[]): Figures {
  const of = (pick: (figures: Figures) => number) => median(rounds.map(pick));
  return {
    collectedPerSecond: of((one) => one.collectedPerSecond),
    drainedPerSecond: of((one) => one.drainedPerSecond),
    p50Ms: of((one) => one.p50Ms),
    p99Ms: of((one) => one.p99Ms),
    cpuMicrosPerCall: of((one) => one.cpuMicrosPerCall),
    cpuMicrosPerDrained: of((one) => one.cpuMicrosPerDrained),
  };
}

function tell(figures: readonly Figures[]): void {
  const [theirs] = figures;
  for (const [index, one] of figures.entries()) {
    const share = theirs === undefined || index === 0
      ? ""
      : `, ${(one.cpuMicrosPerCall / theirs.cpuMicrosPerCall).toFixed(2)} × (aim: 0.10 ×)`;
    console.log(
      `${CONTENDERS[index]?.name ?? ""}:\n` +
        `  add(1, 2) sent and collected ${Math.round(one.collectedPerSecond)}/s` +
        `, drained ${Math.round(one.drainedPerSecond)}/s` +
        `, one after the other p50 ${one.p50Ms.toFixed(2)} ms p99 ${one.p99Ms.toFixed(2)} ms\n` +
        `  processor time a task ${Math.round(one.cpuMicrosPerCall)} µs${share}` +
        `, ${Math.round(one.cpuMicrosPerDrained)} µs while draining`,
    );
  }
}
