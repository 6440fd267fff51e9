/**
 * The benchmarks of the main job, side by side in one run on a private RabbitMQ:
 * `deno task bench`, with `--quick` for short rounds, and names to run only some of them.
 * The machine's speed drifts: rounds alternate, medians are compared, ratios are what counts.
 */
import { type HttpConnection, openConnection } from "./bench/http_client.ts";
import { openCaller, openEmbedded, startApp } from "./bench/nodes.ts";
import { runRawRpc, startRpcWorker } from "./bench/raw_rpc.ts";
import { line, measure, median, medianRound, percentile, type Round } from "./bench/stats.ts";
import { type RabbitMq, startRabbitMq } from "./services/rabbitmq.ts";

const args = process.argv.slice(2);
const isQuick = args.includes("--quick");
const names = args.filter((arg) => !arg.startsWith("--"));
const ROUNDS = isQuick ? 2 : 5;
const SECONDS = isQuick ? 1 : 3;
const INPUT = { argsJson: '["hello"]', kwargsJson: "{}" };

type Contender = { readonly name: string; readonly run: (concurrency: number) => Promise<Round> };

/** Runs the contenders in turn, round after round, and compares each with the first. */
async function compare(contenders: readonly Contender[], concurrency: number): Promise<void> {
  const rounds = contenders.map((): Round[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, { run }] of contenders.entries()) {
      rounds[index]?.push(await run(concurrency));
    }
  }
  const medians = rounds.map(medianRound);
  for (const [index, { name }] of contenders.entries()) {
    const round = medians[index];
    if (round !== undefined) {
      console.log(line(`${name}, ${concurrency} in flight`, round, index ? medians[0] : undefined));
    }
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
      { name: "ours over RabbitMQ, without HTTP", run: call(ours.caller) },
      { name: "ours on the embedded broker, without HTTP", run: call(embedded.caller) },
    ], concurrency);
  }
}

async function http(rabbit: RabbitMq): Promise<void> {
  const queue = `cox-bench.${crypto.randomUUID()}`;
  await using _rawWorker = await startRpcWorker("raw_rpc_worker.ts", [rabbit.url, queue]);
  const bareFile = new URL("./bench/bare_front.ts", import.meta.url).pathname;
  const bare = Bun.spawn([process.execPath, bareFile, rabbit.url, queue], { stdout: "pipe" });
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

async function kill(): Promise<void> {
  await using embedded = await openEmbedded(2);
  const { caller } = embedded;
  const limitMs = 50;
  const told: number[] = [];
  const whole: number[] = [];
  for (let i = 0; i < (isQuick ? 40 : 200); i++) {
    const before = performance.now();
    const [ending] = await Promise.all([
      caller.call("dead", { argsJson: "[]", kwargsJson: "{}" }, { timeoutMs: limitMs }),
      caller.call("dead", { argsJson: "[]", kwargsJson: "{}" }, { timeoutMs: limitMs }),
    ]);
    const at = performance.now();
    if (ending.kind !== "timed_out") throw new Error(`Expected timed_out, got ${ending.kind}`);
    told.push(at - before - limitMs);
    await Promise.all([caller.call("echo", INPUT), caller.call("echo", INPUT)]);
    whole.push(performance.now() - at);
  }
  tell("kill: from the deadline to the caller knowing", told);
  tell("kill: until both isolates answer again", whole);
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
  tell("healthz while every isolate spins, 1,000 requests", durations);
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
  tell("start of the executable to its first answer", durations);
}

function tell(name: string, durations: number[]): void {
  const sorted = durations.toSorted((a, b) => a - b);
  console.log(
    `${name.padEnd(52)} p50 ${median(sorted).toFixed(2)} ms  ` +
      `p99 ${percentile(sorted, 0.99).toFixed(2)} ms  max ${sorted.at(-1)?.toFixed(2)} ms`,
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
  kill,
  health,
  start,
};

let running: RabbitMq | undefined;
try {
  for (const [name, run] of Object.entries(BENCHMARKS)) {
    if (names.length > 0 && !names.includes(name)) continue;
    await run(async () => running ??= await startRabbitMq());
  }
} finally {
  await running?.dispose();
}
process.exit(0);
