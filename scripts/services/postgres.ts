/**
 * A private PostgreSQL from Debian's package, for tests and benchmarks: its own port, folder and
 * superuser, on loopback alone. It never touches a cluster that it did not make, and a watcher ends it
 * when the process that started it is gone.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ensurePackage } from "./debian.ts";
import { freePorts } from "./ports.ts";

const LIBRARY = "/usr/lib/postgresql";
const START_PATIENCE_MS = 60_000;
const STOP_PATIENCE_MS = 20_000;
/** PostgreSQL refuses to run as root; the first of these that the machine has runs it then. */
const ACCOUNTS = ["postgres", "nobody"];

/** The superuser of every cluster made here. */
const USER = "coxswain";
const PASSWORD = "secret";

/**
 * Reads until whoever started it is gone or lets go, then ends what is left and removes the folder,
 * its working folder. Only a process that works in there is ended: a number may have passed on.
 */
const WATCHER = `
  cat >/dev/null
  process=$(head -n 1 data/postmaster.pid 2>/dev/null)
  if [ -n "$process" ] && [ "$(readlink "/proc/$process/cwd")" = "$PWD/data" ]; then
    kill -QUIT "$process"
    tries=0
    while kill -0 "$process" 2>/dev/null && [ $tries -lt 50 ]; do
      sleep 0.1
      tries=$((tries + 1))
    done
    kill -9 "$process" 2>/dev/null
  fi
  rm -rf "$PWD"`;

export interface PostgresOptions {
  /** Further lines of postgresql.conf. `{folder}` is filled in. */
  readonly config?: readonly string[];
  /** Files to write into its folder first, by name; readable by the server alone. */
  readonly files?: Readonly<Record<string, string>>;
}

/** One server with its folder. Made running by `startPostgres`; may be stopped and started again. */
export class Postgres {
  /** To the database "postgres", as superuser. */
  readonly url: string;
  readonly port: number;
  readonly folder: string;
  readonly #bin: string;
  readonly #account: string | undefined;
  #process: ChildProcess | undefined;
  #watcher: ChildProcess | undefined;

  constructor(folder: string, port: number, { config = [], files = {} }: PostgresOptions) {
    this.folder = folder;
    this.port = port;
    this.url = this.urlOf("postgres");
    this.#bin = serverFolder();
    this.#account = process.getuid?.() === 0 ? accountForServer() : undefined;
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(folder, name), content, { mode: 0o600 });
    }
    writeFileSync(join(folder, "password"), PASSWORD, { mode: 0o600 });
    if (this.#account !== undefined) run("chown", ["-R", this.#account, folder]);
    this.#run("initdb", [
      ...["-D", join(folder, "data"), "-U", USER, "-A", "scram-sha-256"],
      ...["--pwfile", join(folder, "password"), "-E", "UTF8", "--no-locale", "--no-sync"],
    ]);
    writeFileSync(
      join(folder, "data", "postgresql.auto.conf"),
      [
        "listen_addresses = '127.0.0.1'",
        `port = ${port}`,
        "unix_socket_directories = ''",
        "shared_buffers = 64MB",
        "max_connections = 60",
        ...config.map((line) => line.replaceAll("{folder}", folder)),
        "",
      ].join("\n"),
    );
  }

  /** With a user's name and password, and a database that need not be there. */
  urlOf(database: string, { user = USER, password = PASSWORD, port = this.port } = {}): string {
    return `postgres://${user}:${password}@127.0.0.1:${port}/${database}`;
  }

  /** The server's first process. */
  get pid(): number {
    return Number(
      readFileSync(join(this.folder, "data", "postmaster.pid"), "utf8").split("\n")[0],
    );
  }

  /** Starts it on the same folder and port; resolves when it answers. */
  async start(): Promise<void> {
    this.#watcher ??= this.#beginWatch();
    const deadline = performance.now() + START_PATIENCE_MS;
    // After a kill -9 it refuses until the last of its own children is gone.
    while (!(await this.#tryStart(deadline))) {
      if (performance.now() > deadline) {
        throw new Error(`PostgreSQL did not start; its log is ${join(this.folder, "log")}`);
      }
      await pause();
    }
  }

  /** Ends it at once and in order; its folder stays. Idempotent. */
  async stop(): Promise<void> {
    await this.#end("SIGINT");
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

  /** Runs SQL in psql as superuser and returns what it printed. @throws Error when it fails. */
  sql(statement: string, database = "postgres"): string {
    return run(
      join(this.#bin, "psql"),
      ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, this.urlOf(database)],
    );
  }

  async #tryStart(deadline: number): Promise<boolean> {
    const [command, args] = this.#asAccount(join(this.#bin, "postgres"), [
      ...["-D", join(this.folder, "data")],
      ...["-c", "logging_collector=on", "-c", `log_directory=${this.folder}`],
      ...["-c", "log_filename=log", "-c", "log_file_mode=0644"],
    ]);
    const server = spawn(command, args, {
      cwd: join(this.folder, "data"),
      env: { PATH: process.env.PATH, LANG: "C.UTF-8" },
      stdio: "ignore",
      detached: true,
    });
    server.unref();
    const isOver = () => server.exitCode !== null || server.signalCode !== null;
    while (!isOver() && performance.now() < deadline) {
      const { status } = spawnSync(join(this.#bin, "pg_isready"), [
        ...["-q", "-h", "127.0.0.1", "-p", String(this.port)],
      ]);
      if (status === 0) {
        this.#process = server;
        return true;
      }
      await pause();
    }
    return false;
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const server = this.#process;
    if (server === undefined) return;
    this.#process = undefined;
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = new Promise((resolve) => server.once("exit", resolve));
    process.kill(this.pid, signal);
    const timer = setTimeout(() => process.kill(this.pid, "SIGKILL"), STOP_PATIENCE_MS);
    await ended;
    clearTimeout(timer);
  }

  #run(program: string, args: readonly string[]): void {
    const [command, all] = this.#asAccount(join(this.#bin, program), args);
    run(command, all, this.folder);
  }

  #asAccount(command: string, args: readonly string[]): readonly [string, readonly string[]] {
    if (this.#account === undefined) return [command, args];
    const as = [`--reuid=${this.#account}`, `--regid=${groupOf(this.#account)}`, "--clear-groups"];
    return ["setpriv", [...as, "--", command, ...args]];
  }

  #beginWatch(): ChildProcess {
    const watcher = spawn("/bin/sh", ["-c", WATCHER], {
      cwd: this.folder,
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    });
    watcher.unref();
    return watcher;
  }
}

/** Starts a server of one's own; `dispose()` it in the end. */
export async function startPostgres(options: PostgresOptions = {}): Promise<Postgres> {
  // Clients alone make folders there too.
  if (servers().length === 0) ensurePackage("postgresql", join(LIBRARY, "*", "bin", "initdb"));
  const [port = 0] = await freePorts(1);
  const folder = mkdtempSync(join(tmpdir(), "coxswain-postgres-"));
  chmodSync(folder, 0o755);
  let postgres: Postgres | undefined;
  try {
    postgres = new Postgres(folder, port, options);
    await postgres.start();
    return postgres;
  } catch (error) {
    await postgres?.dispose();
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

let shared: Promise<Postgres> | undefined;

/** One server for all that this process tests; its watcher ends it with the process. */
export function sharedPostgres(): Promise<Postgres> {
  return shared ??= startPostgres();
}

/** The newest server that the machine has. */
function serverFolder(): string {
  const newest = servers().toSorted((a, b) => Number(b) - Number(a))[0];
  if (newest === undefined) throw new Error(`No PostgreSQL server in ${LIBRARY}`);
  return join(LIBRARY, newest, "bin");
}

function servers(): string[] {
  if (!existsSync(LIBRARY)) return [];
  return readdirSync(LIBRARY).filter((name) => existsSync(join(LIBRARY, name, "bin", "initdb")));
}

function accountForServer(): string {
  const account = ACCOUNTS.find((name) => spawnSync("id", [name]).status === 0);
  if (account === undefined) {
    throw new Error(`PostgreSQL does not run as root, and there is none of ${ACCOUNTS.join(", ")}`);
  }
  return account;
}

function groupOf(account: string): string {
  return run("id", ["-g", account]).trim();
}

function run(command: string, args: readonly string[], cwd?: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: "utf8",
    ...(cwd === undefined ? {} : { cwd }),
  });
  if (status !== 0) throw new Error(`${command} failed: ${stderr}${stdout}`);
  return stdout;
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 30));
}
