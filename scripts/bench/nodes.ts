/** The program's processes and parts, as benchmarks need them. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createAmqpBroker } from "../../src/broker/amqp/amqp_broker.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { EmbeddedBroker } from "../../src/broker/embedded/embedded_broker.ts";
import { BrokerCaller } from "../../src/calls/broker_caller.ts";
import { Heartbeat } from "../../src/heartbeat/ticker.ts";
import { createPool } from "../../src/isolates/pool.ts";
import { NodesChannel } from "../../src/nodes/nodes_channel.ts";
import { PeriodicCallbacks } from "../../src/worker/periodic.ts";
import { Worker } from "../../src/worker/worker.ts";

const ROOT = new URL("../../", import.meta.url);
const APP = new URL("app", ROOT).pathname;
/** A process that outlives this is ended: its benchmark hangs. */
const PATIENCE_MS = 15 * 60_000;
const MAX_BODY_BYTES = 16 * 2 ** 20;

/** A process of the compiled executable, in an empty folder of its own. */
export interface RunningApp extends AsyncDisposable {
  /** The front's address, where it has one. */
  readonly url: string;
  readonly pid: number;
  /** What it logged until it was ready. */
  readonly log: string;
}

/** Starts the executable; resolves when it says that it is ready. */
export async function startApp(...args: string[]): Promise<RunningApp> {
  const folder = mkdtempSync(join(tmpdir(), "coxswain-bench-"));
  const app = Bun.spawn([APP, ...args, "--log-format", "json"], {
    cwd: folder,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
    timeout: PATIENCE_MS,
  });
  let log = "";
  const reader = app.stderr.getReader();
  while (!log.includes('"Ready')) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`The executable ended:\n${log}`);
    log += new TextDecoder().decode(value);
  }
  const drained = (async () => {
    while (!(await reader.read()).done);
  })();
  return {
    url: /http:\/\/127\.0\.0\.1:\d+/.exec(log)?.[0] ?? "",
    pid: app.pid,
    log,
    [Symbol.asyncDispose]: async () => {
      app.kill("SIGKILL");
      await Promise.all([app.exited, drained]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** What a process holds in memory now. */
export function residentKiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

/** Processor time of a process, user and system together; the kernel counts in hundredths of a second. */
export function cpuMicros(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** A caller without HTTP. */
export interface BenchCaller extends AsyncDisposable {
  readonly caller: BrokerCaller;
}

/** A caller over RabbitMQ in this process. */
export async function openCaller(url: string): Promise<BenchCaller> {
  const broker = createAmqpBroker({ url, name: "bench" });
  await broker.start(AbortSignal.timeout(10_000));
  const { nodes, caller } = await callerOver(broker, undefined);
  await nodes.settled();
  return {
    caller,
    [Symbol.asyncDispose]: async () => {
      await caller.stop();
      await nodes.stop();
      await broker.stop();
    },
  };
}

/** Front, broker, worker and isolates in this process, without HTTP. */
export async function openEmbedded(isolates: number): Promise<BenchCaller> {
  const folder = mkdtempSync(join(tmpdir(), "coxswain-bench-"));
  const server = new EmbeddedBroker({ dataDir: folder });
  const broker = server.connect();
  await broker.start();
  const { nodes, caller } = await callerOver(broker, 0);
  const pool = createPool({
    entryUrl: new URL("src/isolates/entry.ts", ROOT),
    selfCommand: [process.execPath, new URL("main.ts", ROOT).pathname],
    taskPaths: [],
    isolates,
    nodeId: "bench",
  });
  const worker = new Worker({
    broker,
    nodes,
    pool,
    periodic: new PeriodicCallbacks(new Heartbeat()),
    node: "bench",
    queueType: "classic",
    slots: isolates,
    lookAhead: "auto",
    groupAnswers: false,
    maxBodyBytes: MAX_BODY_BYTES,
  });
  await worker.start();
  return {
    caller,
    [Symbol.asyncDispose]: async () => {
      await caller.stop();
      await worker.stop(AbortSignal.abort());
      await nodes.stop();
      await broker.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function callerOver(broker: Broker, settleMs: number | undefined) {
  const nodes = new NodesChannel({
    broker,
    node: "bench",
    ...(settleMs === undefined ? {} : { settleMs }),
  });
  await nodes.start();
  const caller = new BrokerCaller({
    broker,
    directory: nodes,
    node: "bench",
    version: "bench",
    expiresMs: 30_000,
    maxPending: 10_000,
    maxReplyBytes: MAX_BODY_BYTES,
  });
  await caller.start();
  return { nodes, caller };
}
