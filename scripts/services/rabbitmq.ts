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

/**
 * Reads until whoever started it is gone or lets go, then ends what is left and removes the folder,
 * its working folder. Only processes whose home is in there are ended: a number may have passed on.
 */
const WATCHER = `
  cat >/dev/null
  home="HOME=$PWD/home"
  for name in pid epmd.pid; do
    [ -f "$name" ] || continue
    process=$(cat "$name")
    tr '\\0' '\\n' <"/proc/$process/environ" 2>/dev/null | grep -qxF "$home" || continue
    kill -9 "$process"
    tries=0
    while kill -0 "$process" 2>/dev/null && [ $tries -lt 50 ]; do
      sleep 0.1
      tries=$((tries + 1))
    done
  done
  rm -rf "$PWD"`;

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
  readonly #epmdPort: number;
  #process: ChildProcess | undefined;
  #watcher: ChildProcess | undefined;

  constructor(
    folder: string,
    ports: readonly [port: number, tlsPort: number, distPort: number, epmdPort: number],
    { config = [], files = {} }: RabbitMqOptions,
  ) {
    const [port, tlsPort, distPort, epmdPort] = ports;
    this.folder = folder;
    this.#epmdPort = epmdPort;
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
    this.#watcher ??= this.#beginWatch();
    rmSync(join(this.folder, "pid"), { force: true });
    const server = spawn(join(this.#sbin, "rabbitmq-server"), [], {
      env: this.#env,
      cwd: this.folder,
      stdio: "ignore",
      detached: true,
    });
    server.unref();
    this.#process = server;
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

  /** Stops it and removes all that it left. Idempotent. */
  async dispose(): Promise<void> {
    await this.stop();
    const watcher = this.#watcher;
    if (watcher === undefined || watcher.exitCode !== null) return;
    const ended = new Promise((resolve) => watcher.once("exit", resolve));
    watcher.stdin?.end();
    await ended;
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

  /** As `ctl`, while the caller's own work goes on: it takes half a second or more. */
  async command(...args: string[]): Promise<string> {
    const command = spawn(join(this.#sbin, "rabbitmqctl"), ["-q", ...args], {
      env: this.#env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    command.stdout.on("data", (chunk) => said += chunk);
    command.stderr.on("data", (chunk) => said += chunk);
    const status = await new Promise((resolve) => command.once("close", resolve));
    if (status !== 0) throw new Error(`rabbitmqctl ${args.join(" ")} failed: ${said}`);
    return said;
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

  /** Starts what outlives us and cleans up, and Erlang's name server, which would outlive all. */
  #beginWatch(): ChildProcess {
    const options = { env: this.#env, cwd: this.folder, detached: true } as const;
    const watcher = spawn("/bin/sh", ["-c", WATCHER], {
      ...options,
      stdio: ["pipe", "ignore", "ignore"],
    });
    watcher.unref();
    const names = spawn("epmd", ["-port", String(this.#epmdPort), "-address", "127.0.0.1"], {
      ...options,
      stdio: "ignore",
    });
    names.unref();
    writeFileSync(join(this.folder, "epmd.pid"), String(names.pid));
    return watcher;
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
    await rabbit.dispose();
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
