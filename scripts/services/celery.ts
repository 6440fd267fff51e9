/**
 * A real Celery from Debian's package, for tests and benchmarks: its workers, its command line and
 * clients of it, which are Python scripts. Its application is tests/fixtures/celery/celery_app.py.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { ensurePackage } from "./debian.ts";
import type { RabbitMq } from "./rabbitmq.ts";

const PYTHON = "/usr/bin/python3";
const PACKAGE = "/usr/lib/python3/dist-packages/celery";
const START_PATIENCE_MS = 60_000;
const STOP_PATIENCE_MS = 20_000;

/** Where `celery_app.py` and `driver.py` lie. */
const FOLDER = new URL("../../tests/fixtures/celery/", import.meta.url).pathname;

/** What an application of Celery needs to be told. */
export interface CeleryOptions {
  /** The broker with its virtual host. */
  readonly url: string;
  /** Celery's settings, such as `{ task_send_sent_event: true }`. */
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly env?: Readonly<Record<string, string>>;
}

export interface CeleryWorkerOptions extends CeleryOptions {
  /** Default: "celery". */
  readonly queues?: readonly string[];
  /** Default 1. */
  readonly concurrency?: number;
  /** Default "prefork", Celery's own. */
  readonly pool?: "prefork" | "solo" | "threads";
  /** Its node name, with an "@". Default: a name that no other worker of this process has. */
  readonly name?: string;
  /** Whether it emits events. Default false, as in Celery. */
  readonly events?: boolean;
  /** Whether it meets other workers at its start and watches them, which costs a second. Default false. */
  readonly meets?: boolean;
  /** Further arguments of `celery worker`. */
  readonly args?: readonly string[];
  /** Whether to print its log as it comes, for whoever looks for a mistake. Default false. */
  readonly logs?: boolean;
}

/** What a program of Python's printed, once it has ended. */
export interface PythonOutput {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** A vhost of its own on a broker, so that one test's Celery does not see another's. */
export function celeryVhost(rabbit: RabbitMq, name: string): string {
  rabbit.ctl("add_vhost", name);
  rabbit.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*");
  return `${rabbit.url}${name}`;
}

/** A running worker of Celery's. Made by `startCeleryWorker`. */
export class CeleryWorker implements AsyncDisposable {
  readonly name: string;
  /** Its log so far. */
  log = "";
  readonly #process: ChildProcess;
  readonly #ended: Promise<void>;
  readonly #listeners = new Set<() => void>();

  constructor(options: CeleryWorkerOptions, name: string) {
    const { queues = ["celery"], concurrency = 1, pool = "prefork", events, meets } = options;
    this.name = name;
    this.#process = spawn(PYTHON, [
      ...["-m", "celery", "-A", "celery_app", "worker", "-l", "INFO", "-n", name],
      ...["-Q", queues.join(","), "-c", String(concurrency), "-P", pool],
      ...(events ? ["-E"] : []),
      ...(meets ? [] : ["--without-mingle", "--without-gossip"]),
      ...options.args ?? [],
      // A group of its own: its children end with it, whatever it does.
    ], { env: { ...environment(options), CELERY_PARENT: "1" }, cwd: FOLDER, detached: true });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.log += text;
        if (options.logs) process.stderr.write(text);
        for (const listener of this.#listeners) listener();
      });
    }
    this.#ended = new Promise((resolve) => this.#process.once("exit", () => resolve()));
  }

  get pid(): number {
    return this.#process.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Waits until its log has something that matches. @throws Error when it ends or takes too long. */
  async logged(pattern: RegExp, patienceMs = START_PATIENCE_MS): Promise<void> {
    const seen = Promise.withResolvers<void>();
    const fail = (why: string) => seen.reject(new Error(`${why} before ${pattern}:\n${this.log}`));
    const check = () => {
      if (pattern.test(this.log)) seen.resolve();
    };
    const timer = setTimeout(() => fail(`${patienceMs} ms have gone by`), patienceMs);
    this.#listeners.add(check);
    check();
    void this.#ended.then(() => fail("The worker ended"));
    try {
      await seen.promise;
    } finally {
      clearTimeout(timer);
      this.#listeners.delete(check);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Ends it as an operator would, at once if it does not; idempotent. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (!this.isRunning) return;
    this.#process.kill(signal);
    const timer = setTimeout(() => process.kill(-this.pid, "SIGKILL"), STOP_PATIENCE_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  /** Ends it at once, with what it runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isRunning) process.kill(-this.pid, "SIGKILL");
    await this.#ended;
  }
}

let started = 0;

/** Starts a worker and waits until it consumes. */
export async function startCeleryWorker(options: CeleryWorkerOptions): Promise<CeleryWorker> {
  ensureCelery();
  const name = options.name ?? `w${++started}-${process.pid}@test`;
  const worker = new CeleryWorker(options, name);
  try {
    await worker.logged(new RegExp(`${name} ready`));
  } catch (error) {
    await worker[Symbol.asyncDispose]();
    throw error;
  }
  return worker;
}

/**
 * Runs a script with a Celery client and returns the JSON lines that it printed (`emit`). It begins
 * with `from driver import *` already.
 * @param args the script's `sys.argv[1:]`.
 * @throws Error when it fails, with what it wrote.
 */
export async function python(
  script: string,
  { args = [], ...options }: CeleryOptions & { readonly args?: readonly string[] },
): Promise<Record<string, unknown>[]> {
  const { code, output, errors } = await runPython(
    ["-c", `from driver import *\n${script}`, ...args],
    options,
  );
  if (code !== 0) throw new Error(`The driver ended with ${code}: ${errors}\n${output}`);
  return output.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
}

/** Runs a command of Celery's, such as `["inspect", "ping", "--json"]`, to its end. */
export function celery(args: readonly string[], options: CeleryOptions): Promise<PythonOutput> {
  return runPython(["-m", "celery", "-A", "celery_app", ...args], options);
}

/** Starts a command that goes on, such as `["events", "--dump"]`; end it by its pid. */
export function spawnCelery(args: readonly string[], options: CeleryOptions): ChildProcess {
  ensureCelery();
  return spawn(PYTHON, ["-m", "celery", "-A", "celery_app", ...args], {
    env: { ...environment(options), CELERY_PARENT: "1" },
    cwd: FOLDER,
  });
}

function runPython(args: readonly string[], options: CeleryOptions): Promise<PythonOutput> {
  ensureCelery();
  return new Promise((resolve, reject) => {
    const child = spawn(PYTHON, [...args], {
      env: { ...environment(options), CELERY_PARENT: "1" },
      cwd: FOLDER,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => output += text);
    child.stderr.setEncoding("utf8").on("data", (text: string) => errors += text);
    child.once("error", reject);
    child.once("close", (code) => resolve({ code: code ?? 1, output, errors }));
  });
}

function environment({ url, settings = {}, env = {} }: CeleryOptions): Record<string, string> {
  return {
    PATH: process.env.PATH ?? "",
    HOME: process.env.HOME ?? "",
    LANG: "C.UTF-8",
    PYTHONPATH: FOLDER,
    PYTHONUNBUFFERED: "1",
    PYTHONDONTWRITEBYTECODE: "1",
    // Celery warns where root runs a worker, and refuses where it also reads pickles.
    C_FORCE_ROOT: "1",
    CELERY_URL: url,
    CELERY_SETTINGS: JSON.stringify(settings),
    ...env,
  };
}

/** Installs it where it is missing. */
export function ensureCelery(): void {
  ensurePackage("python3-celery", PACKAGE);
}
