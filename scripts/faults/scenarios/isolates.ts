/**
 * Tasks that harm their isolate, and through it the worker, in every way that a script can, while others
 * work beside them.
 */
import { residentBytes } from "../process_figures.ts";
import type { Scenario } from "../scenario.ts";

/** Their queue is the ledger's: whatever they do, they do it beside the load. */
const BAD_TASKS = `
import { context, task } from "coxswain";
const retry = { limit: 0 };
task("bad.spin", { timeout: "1s", retry }, () => { while (true) {} });
task("bad.storm", { timeout: "1s", retry }, async () => { while (true) await undefined; });
task("bad.wait", { timeout: "1s", retry }, () => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
task("bad.exit", { timeout: "5s", retry }, () => process.exit(3));
task("bad.throw-later", { timeout: "2s", retry }, () => new Promise(() => {
  setTimeout(() => { throw new Error("thrown in a timer"); }, 10);
}));
task("bad.throw-odd", { timeout: "2s", retry }, () => { throw null; });
task("bad.log", { timeout: "1s", retry }, () => {
  while (true) context.log.info("x".repeat(1_000));
});
task("bad.console", { timeout: "1s", retry }, () => { while (true) console.error("x".repeat(1_000)); });
task("bad.post", { timeout: "1s", retry }, () => {
  while (true) globalThis.postMessage?.({ kind: "flood", bytes: new Uint8Array(10_000) });
});
task("bad.progress", { timeout: "1s", retry }, () => { while (true) context.progress(0.5, "again"); });
task("bad.result", { timeout: "2s", retry }, () => "x".repeat(20 * 2 ** 20));
task("bad.process", { timeout: "1s", retry, isolation: "process" }, () => { while (true) {} });
task("bad.process-exit", { timeout: "5s", retry, isolation: "process" }, () => process.exit(3));
task("bad.process-flood", { timeout: "1s", retry, isolation: "process" }, () => {
  while (true) process.send?.({ kind: "flood", text: "x".repeat(10_000) });
});
task("bad.globals", { timeout: "1s", retry }, () => {
  globalThis.onmessage = null;
  globalThis.postMessage = () => {};
  JSON.stringify = () => { throw new Error("no"); };
  Promise.prototype.then = () => { throw new Error("no"); };
  return 1;
});
`;

const BAD_NAMES = [...BAD_TASKS.matchAll(/task\("(bad\.[\w-]+)"/g)].map(([, name = ""]) => name);
/** A limit of five seconds at most, and what answers take on a busy machine. */
const ANSWER_LIMIT_MS = 12_000;
const MOST_RSS_BYTES = 1_500 * 2 ** 20;
/** Statuses that tell a caller that its task was at fault. */
const FAULTS: ReadonlySet<number> = new Set([200, 500, 502, 504]);

export const isolates: Scenario = {
  name: "isolates",
  does: "tasks spin, exit, throw in timers, flood the log and their parent, break globals",
  promise: "their callers are told, nobody else notices, and the worker lives",
  async run(trial) {
    const amqpUrl = await trial.amqpUrl();
    trial.addTasks("bad", BAD_TASKS);
    await trial.front(amqpUrl);
    const worker = trial.worker(amqpUrl, ["--isolates", "2", "--slots", "1"]);
    await trial.beginLoad({ jobsPerSecond: 15, callsPerSecond: 15 });
    let mostRss = 0;
    const watching = setInterval(() => mostRss = Math.max(mostRss, residentBytes(worker.pid)), 100);
    trial.stack.defer(() => clearInterval(watching));
    await trial.rounds(1, async () => {
      for (const name of BAD_NAMES) {
        trial.fault(name);
        const sentAt = performance.now();
        const status = await call(`${trial.url}/tasks/${name}/call`);
        const tookMs = Math.round(performance.now() - sentAt);
        trial.check(
          `the caller of ${name} is told`,
          FAULTS.has(status) && tookMs < ANSWER_LIMIT_MS,
          `${status} after ${tookMs} ms`,
        );
      }
      await trial.recovers();
    });
    trial.check("the worker lives", worker.endings.length === 0, worker.endings.join(" "));
    trial.check(
      "its memory stays bounded",
      mostRss < MOST_RSS_BYTES,
      `${Math.round(mostRss / 2 ** 20)} MiB`,
    );
    trial.figure("worker's most memory, MiB", Math.round(mostRss / 2 ** 20));
  },
};

async function call(url: string): Promise<number> {
  try {
    const response = await fetch(url, {
      method: "POST",
      body: "[]",
      signal: AbortSignal.timeout(30_000),
    });
    await response.arrayBuffer();
    return response.status;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return 0;
  }
}
