/** A process of the compiled executable that comes back whenever it is killed, as a service does. */

const APP = new URL("../../app", import.meta.url).pathname;
/** As systemd waits. */
const RESTART_AFTER_MS = 100;
const KEPT_LOG_CHARACTERS = 20_000;

export class KeptProcess implements AsyncDisposable {
  readonly name: string;
  readonly #spawn: () => Bun.Subprocess<"ignore", "ignore", "pipe">;
  #process: Bun.Subprocess<"ignore", "ignore", "pipe">;
  #isOver = false;
  #loop: Promise<void>;
  /** The end of what it logged. */
  log = "";

  private constructor(name: string, spawn: () => Bun.Subprocess<"ignore", "ignore", "pipe">) {
    this.name = name;
    this.#spawn = spawn;
    this.#process = spawn();
    this.#loop = this.#keep();
  }

  static start(
    name: string,
    args: readonly string[],
    cwd: string,
    env: Readonly<Record<string, string>>,
  ): KeptProcess {
    return new KeptProcess(name, () =>
      Bun.spawn([APP, ...args], {
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

  /** Ends it without a word; it is started again. */
  kill(): void {
    this.#process.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    this.#process.kill("SIGKILL");
    await this.#loop;
  }

  async #keep(): Promise<void> {
    while (true) {
      const decoder = new TextDecoder();
      for await (const chunk of this.#process.stderr) {
        this.log = (this.log + decoder.decode(chunk, { stream: true })).slice(-KEPT_LOG_CHARACTERS);
      }
      await this.#process.exited;
      await Bun.sleep(RESTART_AFTER_MS);
      if (this.#isOver) return;
      this.#process = this.#spawn();
    }
  }
}
