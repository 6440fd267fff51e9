/**
 * A private RabbitMQ from Debian's package, for tests and benchmarks: its own ports, node name, cookie
 * and folder, on loopback alone. It never touches a broker that it did not start, and a watcher ends
 * it when the process that started it is gone.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensurePackage } from "./debian.ts";
import { freePorts } from "./ports.ts";

const LIBRARY = "/usr/lib/rabbitmq/lib";
const START_PATIENCE_MS = 60_000;
const STOP_PATIENCE_MS = 20_000;

export interface RabbitMqOptions {
  /** Further lines of rabbitmq.conf. `{folder}` and `{tlsPort}` are filled in. */
  readonly config?: readonly string[];
  /** Files to write into its folder first, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** One broker with its folder. Made running by `startRabbitMq`; may be stopped and started again. */
export class RabbitMq {
  readonly url: string;
  readonly port: number;
  readonly tlsPort: number;
  readonly folder: string;
  readonly #sbin: string;
  readonly #env: NodeJS.ProcessEnv;
  #process: ChildProcess | undefined;

  constructor(
    folder: string,
    ports: readonly [port: number, tlsPort: number, distPort: number, epmdPort: number],
    { config = [], files = {} }: RabbitMqOptions,
  ) {
    const [port, tlsPort, distPort, epmdPort] = ports;
    this.folder = folder;
    this.port = port;
    this.tlsPort = tlsPort;
    this.url = `amqp://guest:guest@127.0.0.1:${port}/`;
    this.#sbin = join(serverFolder(), "sbin");
    for (const name of ["home", "mnesia", "log"]) mkdirSync(join(folder, name));
    const fill = (text: string) =>
      text.replaceAll("{folder}", folder).replaceAll("{tlsPort}", String(tlsPort));
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(folder, name), content);
    }
    writeFileSync(join(folder, "plugins"), "[].");
    writeFileSync(
      join(folder, "rabbitmq.conf"),
      [
        `listeners.tcp.1 = 127.0.0.1:${port}`,
        "log.console = false",
        "vm_memory_high_watermark.absolute = 2GB",
        "disk_free_limit.absolute = 10MB",
        ...config.map(fill),
        "",
      ].join("\n"),
    );
    this.#env = {
      PATH: process.env.PATH,
      LANG: "C.UTF-8",
      HOME: join(folder, "home"),
      RABBITMQ_NODENAME: `coxswain-${port}@localhost`,
      RABBITMQ_MNESIA_BASE: join(folder, "mnesia"),
      RABBITMQ_LOG_BASE: join(folder, "log"),
      RABBITMQ_CONFIG_FILE: join(folder, "rabbitmq.conf"),
      RABBITMQ_CONF_ENV_FILE: join(folder, "none"),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, "plugins"),
      RABBITMQ_PID_FILE: join(folder, "pid"),
      RABBITMQ_DIST_PORT: String(distPort),
      ERL_EPMD_PORT: String(epmdPort),
      ERL_EPMD_ADDRESS: "127.0.0.1",
    };
  }

  /** The broker's own process: its start script waits for it. */
  get pid(): number {
    return Number(readFileSync(join(this.folder, "pid"), "utf8"));
  }

  /** Starts it on the same folder and ports; resolves when it takes connections. */
  async start(): Promise<void> {
    rmSync(join(this.folder, "pid"), { force: true });
    const server = spawn(join(this.#sbin, "rabbitmq-server"), [], {
      env: this.#env,
      cwd: this.folder,
      stdio: "ignore",
      detached: true,
    });
    this.#process = server;
    this.#watchOver(server);
    const deadline = performance.now() + START_PATIENCE_MS;
    while (!(await accepts(this.port))) {
      if (server.exitCode !== null || performance.now() > deadline) {
        throw new Error(`RabbitMQ did not start; its log is in ${join(this.folder, "log")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Ends it as an operator would; its folder stays. Idempotent. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** kill -9; its folder stays. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Stops it and removes all that it left. */
  async dispose(): Promise<void> {
    await this.stop();
    spawnSync("epmd", ["-kill"], { env: this.#env });
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Runs rabbitmqctl on it and returns what it printed. @throws Error when it fails. */
  ctl(...args: string[]): string {
    const { status, stdout, stderr } = spawnSync(
      join(this.#sbin, "rabbitmqctl"),
      ["-q", ...args],
      { env: this.#env, encoding: "utf8" },
    );
    if (status !== 0) throw new Error(`rabbitmqctl ${args.join(" ")} failed: ${stderr}${stdout}`);
    return stdout;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#process;
    if (server === undefined) return;
    this.#process = undefined;
    const ended = new Promise((resolve) => server.once("exit", resolve));
    if (server.exitCode !== null || server.signalCode !== null) return;
    process.kill(this.pid, signal);
    const timer = setTimeout(() => process.kill(this.pid, "SIGKILL"), STOP_PATIENCE_MS);
    await ended;
    clearTimeout(timer);
  }

  /** A shell that outlives us ends the broker and its name server when we are gone. */
  #watchOver({ pid }: ChildProcess): void {
    const script = `while kill -0 ${process.pid} 2>/dev/null; do
        kill -0 ${pid} 2>/dev/null || exit 0
        sleep 1
      done
      kill -9 $(cat pid) ${pid}; sleep 1; epmd -kill; rm -rf '${this.folder}'`;
    spawn("/bin/sh", ["-c", script], {
      env: this.#env,
      cwd: this.folder,
      stdio: "ignore",
      detached: true,
    }).unref();
  }
}

/** Starts a broker of one's own; `dispose()` it in the end. */
export async function startRabbitMq(options: RabbitMqOptions = {}): Promise<RabbitMq> {
  ensurePackage("rabbitmq-server", LIBRARY);
  const [port = 0, tlsPort = 0, distPort = 0, epmdPort = 0] = await freePorts(4);
  const folder = mkdtempSync(join(tmpdir(), "coxswain-rabbitmq-"));
  chmodSync(folder, 0o700);
  const rabbit = new RabbitMq(folder, [port, tlsPort, distPort, epmdPort], options);
  try {
    await rabbit.start();
  } catch (error) {
    await rabbit.stop();
    throw error;
  }
  return rabbit;
}

let shared: Promise<RabbitMq> | undefined;

/** One broker for all that this process tests; its watcher ends it with the process. */
export function sharedRabbitMq(): Promise<RabbitMq> {
  return shared ??= startRabbitMq();
}

function serverFolder(): string {
  const name = existsSync(LIBRARY)
    ? readdirSync(LIBRARY).find((name) => name.startsWith("rabbitmq_server-"))
    : undefined;
  if (name === undefined) throw new Error(`No RabbitMQ server in ${LIBRARY}`);
  return join(LIBRARY, name);
}

/** Whether the broker greets: it accepts connections some time before it serves them. */
function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const done = (isUp: boolean) => {
      socket.destroy();
      resolve(isUp);
    };
    socket.once("connect", () => socket.write("AMQP\0\0\x09\x01"));
    socket.once("data", () => done(true));
    socket.once("error", () => done(false));
    socket.once("close", () => done(false));
    socket.setTimeout(2_000, () => done(false));
  });
}
