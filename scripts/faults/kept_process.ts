/** A process of the compiled executable that comes back whenever it ends, as a service does. */

import { atExit } from "./at_exit.ts";

const APP = new URL("../../app", import.meta.url).pathname;
/** As systemd waits. */
const RESTART_AFTER_MS = 100;
const KEPT_LOG_CHARACTERS = 50_000;

export interface KeptProcessOptions {
  /** Put before the executable: a program that starts it elsewhere, such as `ip netns exec`. */
  readonly prefix?: readonly string[];
}

export class KeptProcess implements AsyncDisposable {
  readonly name: string;
  readonly #spawn: () => Bun.Subprocess<"ignore", "ignore", "pipe">;
  #process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  #isOver = false;
  #loop: Promise<void>;
  readonly #forget: () => void;
  /** The end of what it logged. */
  log = "";
  /** The beginning of what it logged in its present life. */
  #lifeLog = "";
  /** How each of its lives ended so far: an exit code, or a signal's name. */
  readonly endings: string[] = [];

  private constructor(name: string, spawn: () => Bun.Subprocess<"ignore", "ignore", "pipe">) {
    this.name = name;
    this.#spawn = spawn;
    this.#process = spawn();
    this.#loop = this.#keep();
    this.#forget = atExit(() => this.#process.kill("SIGKILL"));
  }

  static start(
    name: string,
    args: readonly string[],
    cwd: string,
    env: Readonly<Record<string, string>>,
    { prefix = [] }: KeptProcessOptions = {},
  ): KeptProcess {
    return new KeptProcess(name, () =>
      Bun.spawn([...prefix, APP, ...args], {
        cwd,
        env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", ...env },
        stdin: "ignore",
        stdout: "ignore",
        stderr: "pipe",
      }));
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Whether its present life has said that it is ready. */
  get isReady(): boolean {
    return this.#lifeLog.includes('"Ready');
  }

  /** Ends it without a word; it is started again. */
  kill(): void {
    this.signal("SIGKILL");
  }

  /** Where the signal ends it, it is started again. */
  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  /** Whether its present life ends within the limit; resolves when it has. */
  async ends(limitMs: number): Promise<boolean> {
    const late = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => late.resolve(false), limitMs);
    const isOver = await Promise.race([this.#process.exited.then(() => true), late.promise]);
    clearTimeout(timer);
    return isOver;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#process.kill("SIGKILL");
    await this.#loop;
    this.#forget();
  }

  async #keep(): Promise<void> {
    while (true) {
      const decoder = new TextDecoder();
      for await (const chunk of this.#process.stderr) {
        const text = decoder.decode(chunk, { stream: true });
        if (this.#lifeLog.length < KEPT_LOG_CHARACTERS) this.#lifeLog += text;
        this.log = (this.log + text).slice(-KEPT_LOG_CHARACTERS);
      }
      await this.#process.exited;
      const { exitCode, signalCode } = this.#process;
      this.endings.push(String(signalCode ?? exitCode));
      await Bun.sleep(RESTART_AFTER_MS);
      if (this.#isOver) return;
      this.#lifeLog = "";
      this.#process = this.#spawn();
    }
  }
}
