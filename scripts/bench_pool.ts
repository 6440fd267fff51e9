/**
 * Measures the pool alone: a round trip and the throughput beside the bare `postMessage` and the bare
 * ipc, the time from a deadline to the caller knowing it, and what hundreds of kills leave behind.
 *
 * Run: ./node_modules/bun/bin/bun.exe scripts/bench_pool.ts [kills]
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { AttemptRequest } from "../src/isolates/attempt.ts";
import { createPool, type Pool } from "../src/isolates/pool.ts";

const kills = Number(process.argv[2] ?? 1_000);
const here = (path: string) => new URL(path, import.meta.url);
const entryUrl = here("../src/isolates/entry.ts");
const selfCommand = [
  process.execPath,
  fileURLToPath(here("../tests/support/isolate_main.ts").href),
] as const;

function makePool(isolates: number, slots: number): Pool {
  const taskPaths = [fileURLToPath(here("../tests/support/tasks/obedient.ts").href)];
  return createPool({ entryUrl, selfCommand, taskPaths, isolates, slots, nodeId: "bench" });
}

function request(task: string, args: readonly unknown[], timeoutMs: number): AttemptRequest {
  return {
    id: "01900000-0000-7000-8000-000000000000",
    task,
    body: JSON.stringify([args, {}, null]),
    attempt: 1,
    redelivered: false,
    timeoutMs,
    isolation: task === "obedient.process" ? "process" : "worker",
    headers: {},
  };
}

/** Runs `count` rounds with so many in flight; gives the time in milliseconds. */
async function drive(count: number, inFlight: number, round: () => Promise<unknown>) {
  const startedAt = performance.now();
  let left = count;
  await Promise.all(Array.from({ length: inFlight }, async () => {
    while (left-- > 0) await round();
  }));
  return performance.now() - startedAt;
}

function tell(what: string, count: number, tookMs: number): void {
  const perSecond = Math.round(count / tookMs * 1_000).toLocaleString("en");
  console.log(`${what.padEnd(52)} ${(tookMs / count * 1_000).toFixed(1)} µs  ${perSecond}/s`);
}

async function bareRoundTrip(): Promise<void> {
  const source = "onmessage = (event) => postMessage(event.data);";
  const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  let answer = () => {};
  worker.addEventListener("message", () => answer());
  const text = `R${"x".repeat(120)}`;
  const round = () =>
    new Promise<void>((resolve) => {
      answer = resolve;
      worker.postMessage(text);
    });
  await drive(5_000, 1, round);
  tell("bare postMessage, 1 in flight", 20_000, await drive(20_000, 1, round));
  worker.terminate();
}

async function throughput(): Promise<void> {
  for (const [isolates, slots] of [[2, 1], [2, 32]] as const) {
    const pool = makePool(isolates, slots);
    await pool.start();
    const add = request("math.add", [1, 2], 300_000);
    const echo = request("obedient", [{ return: 1 }], 300_000);
    const inProcess = request("obedient.process", [{ return: 1 }], 300_000);
    for (const inFlight of [1, 64]) {
      const label = `${isolates} isolates × ${slots} slots, ${inFlight} in flight`;
      for (
        const [name, one] of [["math.add", add], ["async", echo], ["process", inProcess]] as const
      ) {
        const count = inFlight === 1 ? 10_000 : 60_000;
        await drive(count / 2, inFlight, () => pool.run(one));
        tell(`${label}, ${name}`, count, await drive(count, inFlight, () => pool.run(one)));
      }
    }
    await pool.stop();
  }
}

function quantile(sorted: readonly number[], q: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0).toFixed(1);
}

async function killing(task: string): Promise<void> {
  const pool = makePool(2, 1);
  await pool.start();
  const spin = request(task, [{ spin: true }], 20);
  const probe = request(task, [{ return: 1 }], 5_000);
  const told: number[] = [];
  const whole: number[] = [];
  const limits: string[] = [];
  for (let kill = 1; kill <= kills; kill++) {
    const startedAt = performance.now();
    await pool.run(spin);
    const toldAt = performance.now();
    await pool.run(probe);
    told.push(toldAt - startedAt - 20);
    whole.push(performance.now() - startedAt - 20);
    if (kill === 100 || kill === kills) {
      await Bun.sleep(500);
      Bun.gc(true);
      limits.push(`after ${kill}: ${rssMebibytes()} MiB, ${threads()} threads`);
    }
  }
  told.sort((a, b) => a - b);
  whole.sort((a, b) => a - b);
  console.log(`kills of ${task} (${kills}), milliseconds after the deadline`);
  console.log(
    `  told   p50 ${quantile(told, 0.5)}  p99 ${quantile(told, 0.99)}  max ${quantile(told, 1)}`,
  );
  console.log(
    `  whole  p50 ${quantile(whole, 0.5)}  p99 ${quantile(whole, 0.99)}  max ${quantile(whole, 1)}`,
  );
  console.log(`  ${limits.join("; ")}; stuck ${pool.stats.stuck}`);
  await pool.stop();
}

function rssMebibytes(): number {
  return Math.round(process.memoryUsage.rss() / 2 ** 20);
}

function threads(): number {
  return readdirSync("/proc/self/task").length;
}

console.log(`Bun ${Bun.version}, load ${readFileSync("/proc/loadavg", "utf8").split(" ")[0]}`);
await bareRoundTrip();
await throughput();
await killing("obedient");
await killing("obedient.process");
process.exit(0);
