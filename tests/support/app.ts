/**
 * The compiled executable, driven as its users drive it: started in a folder of its own, talked to
 * over HTTP, signals and its log. `deno task compile` makes it; the tests refuse to run without it.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The executable under test. */
export const APP = new URL("../../app", import.meta.url).pathname;

if (!existsSync(APP)) {
  throw new Error('The executable is missing: run "deno task compile" first');
}

/** How long a start, a log line or an end may take before a test gives up on it. */
const PATIENCE_MS = 20_000;

export interface AppOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A new empty folder, removed by the returned function. */
export function temporaryFolder(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), "coxswain-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** One running process of the executable. */
export class App implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #folder: ReturnType<typeof temporaryFolder> | undefined;
  /** Everything on standard error so far: the log, as JSON lines. */
  log = "";
  /** Everything on standard output so far. */
  output = "";
  readonly #listeners = new Set<() => void>();
  readonly #drained: Promise<unknown>;

  constructor(args: readonly string[], { cwd, env = {} }: AppOptions = {}) {
    this.#folder = cwd === undefined ? temporaryFolder() : undefined;
    this.#process = Bun.spawn([APP, ...args], {
      cwd: cwd ?? this.#folder?.path ?? ".",
      env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", ...env },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.#drained = Promise.all([
      this.#read(this.#process.stderr, (text) => this.log += text),
      this.#read(this.#process.stdout, (text) => this.output += text),
    ]);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** The front's address, told at its start. */
  get url(): string {
    const found = /https?:\/\/[^\s"',]+:\d+/.exec(this.log)?.[0];
    if (found === undefined) throw new Error(`No address in the log:\n${this.log}`);
    return found;
  }

  /** The exit code, once all output has been read. */
  async exited(): Promise<number> {
    const code = await within(this.#process.exited, `the end of the process; log:\n${this.log}`);
    await this.#drained;
    return code;
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Waits until the log has something that matches. */
  async logged(pattern: RegExp): Promise<void> {
    const seen = Promise.withResolvers<void>();
    const check = () => {
      if (pattern.test(this.log)) seen.resolve();
    };
    this.#listeners.add(check);
    check();
    const ended = this.#drained.then(() => {
      check();
      seen.reject(new Error(`The process ended before ${pattern} was logged:\n${this.log}`));
    });
    try {
      await within(Promise.race([seen.promise, ended]), `${pattern} in the log:\n${this.log}`);
    } finally {
      this.#listeners.delete(check);
      seen.promise.catch(() => undefined);
    }
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  call(task: string, input: unknown, query = "", init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}/tasks/${encodeURIComponent(task)}/call${query}`, {
      method: "POST",
      body: JSON.stringify(input),
      ...init,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isRunning) this.#process.kill("SIGKILL");
    await this.#process.exited;
    this.#folder?.remove();
  }

  async #read(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      take(decoder.decode(chunk, { stream: true }));
      for (const listener of this.#listeners) listener();
    }
  }
}

/** Starts a node and waits until it is ready to serve. */
export async function startNode(args: readonly string[], options?: AppOptions): Promise<App> {
  const app = new App([...args, "--log-format", "json"], options);
  try {
    await app.logged(/"Ready/);
  } catch (error) {
    await app[Symbol.asyncDispose]();
    throw error;
  }
  return app;
}

/** Runs a command to its end. */
export async function runApp(
  args: readonly string[],
  options?: AppOptions,
): Promise<{ code: number; output: string; log: string }> {
  await using app = new App(args, options);
  const code = await app.exited();
  return { code, output: app.output, log: app.log };
}

/** Rejects, naming what was waited for, when it takes too long. */
export async function within<T>(
  promise: Promise<T>,
  what: string,
  patienceMs = PATIENCE_MS,
): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`Waited ${patienceMs} ms for ${what}`)),
    patienceMs,
  );
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Asks until the answer is yes. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  what: string,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`Waited ${patienceMs} ms for ${what}`);
    await Bun.sleep(20);
  }
}
