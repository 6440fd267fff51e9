/**
 * Brings a private RabbitMQ up for tries by hand and takes it down again:
 * `./node_modules/bun/bin/bun.exe scripts/services.ts up`, and `down`. `run` stays until Ctrl-C.
 */
import { spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { startRabbitMq } from "./services/rabbitmq.ts";

const FOLDER = join(import.meta.dirname ?? ".", "..", ".test-services");
const STATE = join(FOLDER, "rabbitmq.json");
const LOG = join(FOLDER, "rabbitmq.log");
/** How long `up` and `down` wait for what they asked for. */
const PATIENCE_MS = 60_000;

interface State {
  readonly pid: number;
  readonly url: string;
}

const commands: Readonly<Record<string, () => Promise<void>>> = { up, down, run };
const command = commands[process.argv[2] ?? "run"];
if (command === undefined) {
  console.error("Usage: services.ts up | down | run");
  process.exitCode = 2;
} else await command();

/** Starts a process of its own that runs on, and waits until it says where the broker is. */
async function up(): Promise<void> {
  const running = readState();
  if (running !== undefined) return console.log(running.url);
  mkdirSync(FOLDER, { recursive: true });
  rmSync(STATE, { force: true });
  const log = openSync(LOG, "w");
  const script = process.argv[1] ?? "scripts/services.ts";
  const keeper = spawn(process.execPath, [script, "run"], {
    stdio: ["ignore", log, log],
    detached: true,
  });
  closeSync(log);
  await until(() => readState() !== undefined || keeper.exitCode !== null);
  const state = readState();
  if (state === undefined) throw new Error(`RabbitMQ did not start: see ${LOG}`);
  keeper.unref();
  console.log(state.url);
}

async function down(): Promise<void> {
  const state = readState();
  if (state === undefined) return console.log("Nothing is up.");
  process.kill(state.pid, "SIGTERM");
  await until(() => !existsSync(STATE));
  console.log("RabbitMQ is down.");
}

async function run(): Promise<void> {
  const stopped = Promise.withResolvers<void>();
  process.once("SIGINT", () => stopped.resolve());
  process.once("SIGTERM", () => stopped.resolve());
  const rabbit = await startRabbitMq();
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(STATE, JSON.stringify({ pid: process.pid, url: rabbit.url } satisfies State));
  console.log(`RabbitMQ is up: ${rabbit.url}`);
  console.log(`Ctrl-C takes it down. Its folder is ${rabbit.folder}`);
  const alive = setInterval(() => undefined, PATIENCE_MS);
  await stopped.promise;
  clearInterval(alive);
  await rabbit.dispose();
  rmSync(STATE, { force: true });
}

/** What runs now; a state that a crash left behind is none. */
function readState(): State | undefined {
  if (!existsSync(STATE)) return undefined;
  const state = JSON.parse(readFileSync(STATE, "utf8")) as State;
  const isOurs = existsSync(`/proc/${state.pid}/cmdline`) &&
    readFileSync(`/proc/${state.pid}/cmdline`, "utf8").includes("services.ts");
  return isOurs ? state : undefined;
}

async function until(isTrue: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error(`Nothing happened within ${PATIENCE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
