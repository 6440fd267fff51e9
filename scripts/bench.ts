/**
 * The benchmarks of the main job, side by side in one run on a private RabbitMQ:
 * `deno task bench`, with `--quick` for short rounds, and names to run only some of them.
 * The machine's speed drifts: rounds alternate, medians are compared, ratios are what counts.
 */
import { availableParallelism, loadavg } from "node:os";
import { celeryEvents } from "./bench/celery_events.ts";
import { benchCelery } from "./bench/celery.ts";
import { consume } from "./bench/consume.ts";
import { benchDevices } from "./bench/devices.ts";
import { type HttpConnection, openConnection } from "./bench/http_client.ts";
import { benchJobs } from "./bench/jobs.ts";
import { openCaller, openEmbedded, startApp } from "./bench/nodes.ts";
import { pubsub } from "./bench/pubsub.ts";
import { runRawRpc, startRpcWorker } from "./bench/raw_rpc.ts";
import { line, measure, median, medianRound, percentile, type Round } from "./bench/stats.ts";
import { type RabbitMq, startRabbitMq } from "./services/rabbitmq.ts";

const args = process.argv.slice(2);
const isQuick = args.includes("--quick");
const names = args.filter((arg) => !arg.startsWith("--"));
const ROUNDS = isQuick ? 3 : 5;
const SECONDS = isQuick ? 1 : 3;
/** Longer than a full run takes: a benchmark that hangs ends all the same. */
const PATIENCE_MS = 15 * 60_000;
const KILL_LIMIT_MS = 50;
const INPUT = { argsJson: '["hello"]', kwargsJson: "{}" };

interface Contender {
  readonly name: string;
  readonly run: (concurrency: number) => Promise<Round>;
  /** What is aimed at, by calls in flight. */
  readonly aims?: Readonly<Record<number, string>>;
}

/** Runs the contenders in turn, round after round, and compares each with the first. */
async function compare(contenders: readonly Contender[], concurrency: number): Promise<void> {
  const rounds = contenders.map((): Round[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, { run }] of contenders.entries()) {
      rounds[index]?.push(await run(concurrency));
    }
  }
  const medians = rounds.map(medianRound);
  for (const [index, { name, aims }] of contenders.entries()) {
    const round = medians[index];
    if (round === undefined) continue;
    const aim = aims?.[concurrency];
    const text = line(`${name}, ${concurrency} in flight`, round, index ? medians[0] : undefined);
    console.log(aim === undefined ? text : `${text}  (aim: ${aim})`);
  }
}

async function load(url: string, body: string | undefined, concurrency: number): Promise<Round> {
  const free: HttpConnection[] = await Promise.all(
    Array.from({ length: concurrency }, () => openConnection(url, body)),
  );
  const request = async () => {
    const connection = free.pop();
    if (connection === undefined) return false;
    const ok = await connection.request();
    free.push(connection);
    return ok;
  };
  await measure(request, { concurrency, seconds: 0.5 });
  const round = await measure(request, { concurrency, seconds: SECONDS });
  for (const connection of free) connection.close();
  return round;
}

async function rpc(rabbit: RabbitMq): Promise<void> {
  await using _worker = await startApp("work", "--amqp-url", rabbit.url);
  await using ours = await openCaller(rabbit.url);
  await using embedded = await openEmbedded(2);
  const call = (caller: typeof ours.caller) => async (concurrency: number) => {
    const operate = async () => (await caller.call("echo", INPUT)).kind === "succeeded";
    await measure(operate, { concurrency, seconds: 0.5 });
    return await measure(operate, { concurrency, seconds: SECONDS });
  };
  for (const concurrency of [1, 64]) {
    await compare([
      {
        name: "raw RPC on the AMQP client",
        run: (concurrency) => runRawRpc({ url: rabbit.url, concurrency, seconds: SECONDS }),
      },
      {
        name: "ours over RabbitMQ, without HTTP",
        run: call(ours.caller),
        aims: { 1: "p50 within 0.3 ms", 64: "0.80 ×" },
      },
      {
        name: "ours embedded, without HTTP",
        run: call(embedded.caller),
        aims: { 64: "2.00 ×" },
      },
    ], concurrency);
  }
}

async function http(rabbit: RabbitMq): Promise<void> {
  const queue = `cox-bench.${crypto.randomUUID()}`;
  await using _rawWorker = await startRpcWorker("raw_rpc_worker.ts", [rabbit.url, queue]);
  const bareFile = new URL("./bench/bare_front.ts", import.meta.url).pathname;
  const bare = Bun.spawn([process.execPath, bareFile, rabbit.url, queue], {
    stdout: "pipe",
    timeout: PATIENCE_MS,
  });
  const bareUrl = await firstLine(bare);
  try {
    await using _worker = await startApp("work", "--amqp-url", rabbit.url);
    await using front = await startApp("serve", "--port", "0", "--amqp-url", rabbit.url);
    await Bun.sleep(1_000);
    await using all = await startApp("all", "--port", "0");
    for (const concurrency of [1, 64]) {
      await compare([
        {
          name: "bare Hono route over the raw RPC",
          run: (concurrency) => load(`${bareUrl}/call`, '["hello"]', concurrency),
        },
        {
          name: "ours with HTTP over RabbitMQ",
          run: (concurrency) => load(`${front.url}/tasks/echo/call`, '["hello"]', concurrency),
          aims: { 64: "0.85 ×" },
        },
        {
          name: "ours with HTTP, all in one process",
          run: (concurrency) => load(`${all.url}/tasks/echo/call`, '["hello"]', concurrency),
        },
      ], concurrency);
    }
  } finally {
    bare.kill();
    await bare.exited;
  }
}

/** Spins in both isolates until their limit, then asks for two answers at once. */
async function kill(): Promise<void> {
  await using embedded = await openEmbedded(2);
  const { caller } = embedded;
  await killRounds("in this process", async (limitMs) => {
    const { kind } = await caller.call(
      "dead",
      { argsJson: "[]", kwargsJson: "{}" },
      { timeoutMs: limitMs },
    );
    return kind === "timed_out";
  }, async () => (await caller.call("echo", INPUT)).kind === "succeeded");

  await using app = await startApp("all", "--port", "0", "--isolates", "2");
  const post = async (path: string) => {
    const response = await fetch(`${app.url}/tasks/${path}`, { method: "POST", body: "[1]" });
    await response.arrayBuffer();
    return response.status;
  };
  await killRounds(
    "over HTTP",
    async (limitMs) => await post(`dead/call?timeout=${limitMs}ms`) === 504,
    async () => await post("echo/call") === 200,
  );
}

async function killRounds(
  where: string,
  spin: (limitMs: number) => Promise<boolean>,
  echo: () => Promise<boolean>,
): Promise<void> {
  const told: number[] = [];
  const whole: number[] = [];
  for (let i = 0; i < (isQuick ? 40 : 200); i++) {
    const before = performance.now();
    const spun = await Promise.all([spin(KILL_LIMIT_MS), spin(KILL_LIMIT_MS)]);
    const at = performance.now();
    const answered = await Promise.all([echo(), echo()]);
    whole.push(performance.now() - at);
    told.push(at - before - KILL_LIMIT_MS);
    if (![...spun, ...answered].every(Boolean)) throw new Error("A kill ended otherwise");
  }
  tell(`kill ${where}: from the deadline to the caller`, told, "p99 50 ms");
  tell(`kill ${where}: until both isolates answer`, whole);
}

async function health(): Promise<void> {
  await using app = await startApp("all", "--port", "0", "--isolates", "2");
  const spinning = await Promise.all(
    [1, 2].map(() => openConnection(`${app.url}/tasks/dead/call?timeout=20s`, "[]")),
  );
  for (const connection of spinning) void connection.request();
  const connection = await openConnection(`${app.url}/healthz`);
  const durations: number[] = [];
  for (let i = 0; i < 1_000; i++) {
    const before = performance.now();
    if (!(await connection.request())) throw new Error("healthz failed");
    durations.push(performance.now() - before);
  }
  tell("healthz while every isolate spins, 1,000 requests", durations, "p99 10 ms");
  connection.close();
}

async function start(): Promise<void> {
  const durations: number[] = [];
  for (let i = 0; i < (isQuick ? 3 : 10); i++) {
    const before = performance.now();
    await using app = await startApp("all", "--port", "0");
    const connection = await openConnection(`${app.url}/tasks/math.add/call`, "[1,2]");
    if (!(await connection.request())) throw new Error("The first request failed");
    durations.push(performance.now() - before);
    connection.close();
  }
  tell("start of the executable to its first answer", durations, "p50 150 ms");
}

function tell(name: string, durations: readonly number[], aim?: string): void {
  const sorted = durations.toSorted((a, b) => a - b);
  console.log(
    `${name.padEnd(52)} p50 ${median(sorted).toFixed(2)} ms  ` +
      `p99 ${percentile(sorted, 0.99).toFixed(2)} ms  max ${sorted.at(-1)?.toFixed(2)} ms` +
      (aim === undefined ? "" : `  (aim: ${aim})`),
  );
}

async function firstLine(process: Bun.Subprocess<"ignore", "pipe", "inherit">): Promise<string> {
  const reader = process.stdout.getReader();
  const { value } = await reader.read();
  reader.releaseLock();
  return new TextDecoder().decode(value).trim();
}

const BENCHMARKS: Readonly<Record<string, (rabbit: () => Promise<RabbitMq>) => Promise<void>>> = {
  rpc: async (rabbit) => rpc(await rabbit()),
  http: async (rabbit) => http(await rabbit()),
  pubsub: async (rabbit) => pubsub(await rabbit(), ROUNDS),
  consume: async (rabbit) => consume(await rabbit(), ROUNDS),
  kill,
  health,
  start,
  jobs: () => benchJobs({ isQuick }),
  "celery-events": async (rabbit) => await celeryEvents(await rabbit(), ROUNDS, SECONDS),
  celery: async (rabbit) => benchCelery(await rabbit(), isQuick),
  devices: async (rabbit) => benchDevices(await rabbit(), isQuick),
};

/** What else runs on the machine decides much of what follows. */
const [busy = 0] = loadavg();
console.log(`${availableParallelism()} processors, load before the run ${busy.toFixed(2)}`);

const patience = setTimeout(() => {
  console.error(`The benchmarks have not ended within ${PATIENCE_MS} ms`);
  process.exit(1);
}, PATIENCE_MS);

let running: RabbitMq | undefined;
try {
  for (const [name, run] of Object.entries(BENCHMARKS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    await run(async () => running ??= await startRabbitMq());
  }
} finally {
  await running?.dispose();
  clearTimeout(patience);
}
process.exit(0);
