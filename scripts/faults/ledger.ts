/**
 * The ledger: jobs that write a line each into one file, while whatever carries them is killed. What
 * was accepted must be in the file in the end, and the store must say the same as the file.
 *
 * `bun scripts/faults/ledger.ts [--jobs N] [--broker rabbitmq|embedded] [--seed N]` runs it in full
 * and prints its table; the tests run it smaller.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { freePorts } from "../services/ports.ts";
import { type RabbitMq, startRabbitMq } from "../services/rabbitmq.ts";
import { KeptProcess } from "./kept_process.ts";

export interface LedgerOptions {
  readonly broker: "rabbitmq" | "embedded";
  /** Jobs in all. */
  readonly jobs: number;
  /** Of them, so many are delayed and so many fail at first. */
  readonly delayed: number;
  readonly retrying: number;
  /** How long kills go on at least, in milliseconds. */
  readonly chaosMs: number;
  readonly seed: number;
  readonly say?: (line: string) => void;
}

export interface LedgerReport {
  readonly attempted: number;
  readonly accepted: number;
  /** Requests that got no answer, or one that leaves it open. */
  readonly unanswered: number;
  /** Accepted, and not in the file. */
  readonly lost: readonly string[];
  /** In the file, and never accepted. */
  readonly extras: number;
  /** Lines beyond the first of a job's attempt. */
  readonly repeated: number;
  /** Repeated lines that were not marked as such. */
  readonly unmarked: readonly string[];
  /** Accepted, and not succeeded as the store has it. */
  readonly disagreeing: readonly string[];
  readonly kills: number;
  readonly seconds: number;
}

const TASKS = `
import { appendFileSync } from "node:fs";
import { context, task } from "coxswain";
const file = process.env.LEDGER_FILE;
task("ledger.write", { retry: { limit: 20, base: "300ms", cap: "2s" } }, (n, failures) => {
  if (context.attempt <= failures) throw new Error("not yet");
  appendFileSync(file, \`\${context.id} \${context.attempt} \${context.redelivered} \${n}\\n\`);
  return n;
});
`;

const IN_FLIGHT = 50;
const SETTLE_MS = 120_000;

/** Runs it; whatever happens, its processes are gone at the end. */
export async function runLedger(options: LedgerOptions): Promise<LedgerReport> {
  const { say = () => {}, chaosMs } = options;
  const folder = mkdtempSync(join(tmpdir(), "coxswain-ledger-"));
  const file = join(folder, "ledger");
  writeFileSync(file, "");
  writeFileSync(join(folder, "tasks.ts"), TASKS);
  const [port = 0] = await freePorts(1);
  const env = { LEDGER_FILE: file };
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  let rabbit: RabbitMq | undefined;
  let workers: readonly KeptProcess[] = [];
  let front: KeptProcess;
  const run = (name: string, args: readonly string[]) =>
    stack.use(
      KeptProcess.start(
        name,
        [...args, "--log-format", "json", "--tasks", "tasks.ts"],
        folder,
        env,
      ),
    );
  if (options.broker === "embedded") {
    front = run("all", ["all", "--port", `${port}`, "--isolates", "2"]);
  } else {
    const started = await startRabbitMq();
    stack.defer(() => started.dispose());
    rabbit = started;
    const amqp = ["--amqp-url", started.url];
    front = stack.use(
      KeptProcess.start(
        "serve",
        ["serve", "--port", `${port}`, "--log-format", "json", ...amqp],
        folder,
        env,
      ),
    );
    workers = [1, 2, 3].map((n) =>
      run(`work ${n}`, ["work", "--isolates", "2", "--slots", "4", ...amqp])
    );
  }
  const url = `http://127.0.0.1:${port}`;
  await until("the front knows the task", 30_000, async () => {
    const tasks: unknown = await json(`${url}/tasks`);
    return tasks !== undefined && JSON.stringify(tasks).includes("ledger.write");
  });

  const startedAt = performance.now();
  const accepted = new Map<string, number>();
  let unanswered = 0;
  let attempted = 0;
  /** Until it is accepted, as a client would that must not lose it. */
  const submit = async (n: number) => {
    while (!await submitOnce(n)) {
      unanswered++;
      await Bun.sleep(100);
    }
  };
  const submitOnce = async (n: number) => {
    const query = n < options.delayed ? "?delay=3s" : "";
    const isRetrying = n >= options.delayed && n < options.delayed + options.retrying;
    attempted++;
    try {
      const response = await fetch(`${url}/tasks/ledger.write/jobs${query}`, {
        method: "POST",
        body: JSON.stringify([n, isRetrying ? 2 : 0]),
        signal: AbortSignal.timeout(15_000),
      });
      const body: unknown = await response.json();
      if (response.status !== 202 || !isWithId(body)) return false;
      accepted.set(body.id, n);
      return true;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return false;
    }
  };

  const chaos = new Chaos(options, front, workers, rabbit, say);
  const pace = chaosMs / options.jobs;
  let next = 0;
  const submitting = Promise.all(Array.from({ length: IN_FLIGHT }, async () => {
    while (next < options.jobs) {
      const n = next++;
      await submit(n);
      // Spread over the time of the kills.
      const aheadMs = next * pace - (performance.now() - startedAt);
      if (aheadMs > 0) await Bun.sleep(aheadMs);
    }
  }));
  await Promise.all([chaos.run(chaosMs), submitting]);
  say(`submitted ${attempted}, accepted ${accepted.size}, unanswered ${unanswered}`);

  const written = () => new Set(readLines(file).map(({ id }) => id));
  await until("every accepted job is in the file", SETTLE_MS, () => {
    const there = written();
    return Promise.resolve([...accepted.keys()].every((id) => there.has(id)));
  }).catch((error: unknown) => say(String(error)));
  const disagreeing = await disagreements(url, [...accepted.keys()]);
  const lines = readLines(file);
  const ids = new Set(lines.map(({ id }) => id));
  return {
    attempted,
    accepted: accepted.size,
    unanswered,
    lost: [...accepted.keys()].filter((id) => !ids.has(id)),
    extras: [...ids].filter((id) => !accepted.has(id)).length,
    ...repetitions(lines),
    disagreeing,
    kills: chaos.kills,
    seconds: Math.round((performance.now() - startedAt) / 1_000),
  };
}

/** Kills by a plan: a worker each second, and once the front, and the broker in both ways. */
class Chaos {
  kills = 0;
  readonly #options: LedgerOptions;
  readonly #front: KeptProcess;
  readonly #workers: readonly KeptProcess[];
  readonly #rabbit: RabbitMq | undefined;
  readonly #say: (line: string) => void;
  #random: number;

  constructor(
    options: LedgerOptions,
    front: KeptProcess,
    workers: readonly KeptProcess[],
    rabbit: RabbitMq | undefined,
    say: (line: string) => void,
  ) {
    this.#options = options;
    this.#front = front;
    this.#workers = workers;
    this.#rabbit = rabbit;
    this.#say = say;
    this.#random = options.seed;
  }

  async run(chaosMs: number): Promise<void> {
    const until = performance.now() + chaosMs;
    const at = (part: number, what: string, kill: () => void | Promise<void>) => ({
      at: until - chaosMs * (1 - part),
      what,
      kill,
    });
    const rabbit = this.#rabbit;
    const plan = rabbit === undefined
      ? [0.25, 0.5, 0.75].map((part) => at(part, "the one process", () => this.#front.kill()))
      : [
        at(0.25, "the broker, restarted", async () => {
          await rabbit.stop();
          await rabbit.start();
        }),
        at(0.5, "the front", () => this.#front.kill()),
        at(0.7, "the broker, by kill -9", async () => {
          await rabbit.kill();
          await rabbit.start();
        }),
      ];
    const great = (async () => {
      for (const { at, what, kill } of plan) {
        await Bun.sleep(Math.max(0, at - performance.now()));
        this.#say(`kills ${what}`);
        this.kills++;
        await kill();
      }
    })();
    while (performance.now() < until) {
      await Bun.sleep(1_000);
      const worker = this.#workers[Math.floor(this.#next() * this.#workers.length)];
      if (worker === undefined) continue;
      this.kills++;
      worker.kill();
    }
    await great;
  }

  /** A small generator (Lehmer), so that a seed names a run. */
  #next(): number {
    this.#random = (this.#random * 48_271 + this.#options.seed) % 2_147_483_647;
    return this.#random / 2_147_483_647;
  }
}

interface Line {
  readonly id: string;
  readonly attempt: string;
  readonly redelivered: boolean;
}

function readLines(file: string): readonly Line[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8").split("\n").filter((line) => line !== "").map((line) => {
    const [id = "", attempt = "", redelivered = ""] = line.split(" ");
    return { id, attempt, redelivered: redelivered === "true" };
  });
}

/** Of the lines of one attempt only one may say that it is the first. */
function repetitions(lines: readonly Line[]): Pick<LedgerReport, "repeated" | "unmarked"> {
  const runs = Map.groupBy(lines, ({ id, attempt }) => `${id} ${attempt}`);
  let repeated = 0;
  const unmarked: string[] = [];
  for (const [run, each] of runs) {
    repeated += each.length - 1;
    if (each.filter(({ redelivered }) => !redelivered).length > 1) unmarked.push(run);
  }
  return { repeated, unmarked };
}

/** Accepted jobs that the store does not know as succeeded, after a while. */
async function disagreements(url: string, ids: readonly string[]): Promise<readonly string[]> {
  let left = ids;
  await until("the store says the same", SETTLE_MS, async () => {
    const unlike: string[] = [];
    for (let i = 0; i < left.length; i += IN_FLIGHT) {
      const states = await Promise.all(
        left.slice(i, i + IN_FLIGHT).map(async (id) => {
          const job: unknown = await json(`${url}/jobs/${id}`);
          return [id, typeof job === "object" && job !== null && "state" in job ? job.state : job];
        }),
      );
      for (const [id, state] of states) if (state !== "succeeded") unlike.push(String(id));
    }
    left = unlike;
    return left.length === 0;
  }).catch(() => undefined);
  return left;
}

async function json(url: string): Promise<unknown> {
  try {
    return await (await fetch(url, { signal: AbortSignal.timeout(10_000) })).json();
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

function isWithId(body: unknown): body is { readonly id: string } {
  return typeof body === "object" && body !== null && "id" in body && typeof body.id === "string";
}

async function until(
  what: string,
  limitMs: number,
  isSo: () => Promise<boolean>,
): Promise<void> {
  const giveUpAt = performance.now() + limitMs;
  while (!await isSo()) {
    if (performance.now() > giveUpAt) throw new Error(`Waited ${limitMs} ms in vain until ${what}`);
    await Bun.sleep(250);
  }
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      jobs: { type: "string", default: "10000" },
      broker: { type: "string", default: "rabbitmq" },
      seed: { type: "string", default: "1" },
    },
  });
  const jobs = Number(values.jobs);
  const report = await runLedger({
    broker: values.broker === "embedded" ? "embedded" : "rabbitmq",
    jobs,
    delayed: Math.floor(jobs / 20),
    retrying: Math.floor(jobs / 20),
    chaosMs: Math.max(15_000, jobs * 4),
    seed: Number(values.seed),
    say: console.error,
  });
  const { lost, unmarked, disagreeing, ...counts } = report;
  console.table({
    ...counts,
    lost: lost.length,
    unmarked: unmarked.length,
    disagreeing: disagreeing.length,
  });
  for (const [what, which] of Object.entries({ lost, unmarked, disagreeing })) {
    if (which.length > 0) console.error(what, which.slice(0, 10));
  }
  process.exit(lost.length + unmarked.length + disagreeing.length === 0 ? 0 : 1);
}
