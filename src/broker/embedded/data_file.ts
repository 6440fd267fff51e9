/**
 * Opens the broker's SQLite file for this process alone. The lock is the operating system's (SQLite
 * holds it on the file), so it is gone with the process however that ends, kill -9 included.
 */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { getLogger } from "@logtape/logtape";
import { BrokerRefusedError } from "../errors.ts";
import { fillUp, isDamage, isWhole, salvage, type Salvaged } from "./salvage.ts";

const log = getLogger(["coxswain", "broker"]);

/** Stands in the file; a program refuses what a later one wrote. */
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE exchanges (
    name TEXT PRIMARY KEY, type TEXT NOT NULL, auto_delete INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE queues (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, shape TEXT NOT NULL
  ) STRICT;
  CREATE TABLE bindings (
    exchange TEXT NOT NULL, queue INTEGER NOT NULL, routing_key TEXT NOT NULL,
    arguments TEXT NOT NULL, PRIMARY KEY (exchange, queue, routing_key, arguments)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE messages (
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, priority INTEGER NOT NULL,
    expires_at INTEGER, exchange TEXT NOT NULL, routing_key TEXT NOT NULL,
    properties TEXT NOT NULL, body BLOB NOT NULL
  ) STRICT;
  CREATE TABLE marks (
    queue INTEGER NOT NULL, priority INTEGER NOT NULL, up_to INTEGER NOT NULL,
    PRIMARY KEY (queue, priority)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE probes (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
`;

/** SQLITE_BUSY and SQLITE_LOCKED: another connection holds the file. */
const BUSY_CODES: readonly unknown[] = [5, 6];

export interface DataFileOptions {
  /** Largest size of the file, in bytes. Default: what the disk holds. */
  readonly maxFileBytes?: number;
}

/**
 * Opens or creates `broker.sqlite` in a folder, which is created too (mode 0700). What can be read of
 * a damaged file goes on in a new one, and the log tells it.
 * @throws BrokerRefusedError when another process holds it, it cannot be created, is no database, or
 *   was written by a newer program.
 */
export function openDataFile(dataDir: string, options: DataFileOptions = {}): DatabaseSync {
  const path = join(dataDir, "broker.sqlite");
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    database = openRepaired(path, options);
    if (isWhole(database)) return database;
    tellSalvaged(salvage(path, database, (fresh) => openLocked(fresh, options), Date.now()));
    return openLocked(path, options);
  } catch (error) {
    if (database?.isOpen) database.close();
    throw refusal(dataDir, path, error);
  }
}

/** Closing another handle of the file lets go of this process's lock: so only where it has none. */
function openRepaired(path: string, options: DataFileOptions): DatabaseSync {
  try {
    return openLocked(path, options);
  } catch (error) {
    if (!isDamage(error)) throw error;
    fillUp(path);
    return openLocked(path, options);
  }
}

function openLocked(path: string, options: DataFileOptions): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    createPrivately(path);
    database = new DatabaseSync(path);
    lock(database);
    prepare(database, path, options);
    return database;
  } catch (error) {
    database?.close();
    throw error;
  }
}

function tellSalvaged({ messages, queues, orphans, keptAt }: Salvaged): void {
  log.error(
    "The broker's file was damaged: {messages} messages in {queues} queues could be read and go on " +
      "in a new file; {orphans} had lost their queue; the damaged file is kept as {keptAt}",
    { messages, queues, orphans, keptAt },
  );
}

/**
 * Readable by its owner alone. Only ever creates: closing a second handle of a file that is open
 * already would let go of the lock that this process may hold on it (POSIX).
 */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
}

/** In exclusive mode the first write takes the lock and keeps it until the file is closed. */
function lock(database: DatabaseSync): void {
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  database.exec("PRAGMA journal_mode = WAL");
  database.exec("BEGIN EXCLUSIVE; COMMIT");
}

function prepare(database: DatabaseSync, path: string, options: DataFileOptions): void {
  // A commit is with the operating system, and the journal's file brings it to the disk before it
  // counts: it alone waits there. https://sqlite.org/pragma.html#pragma_synchronous
  database.exec("PRAGMA synchronous = NORMAL");
  database.exec("PRAGMA journal_size_limit = 67108864");
  const version = numberOf(database, "PRAGMA user_version");
  if (version > SCHEMA_VERSION) {
    throw new BrokerRefusedError(
      `Cannot use ${path}: a newer version of this program wrote it (format ${version}, ` +
        `${SCHEMA_VERSION} is understood). Run that version, or name another folder with --data`,
    );
  }
  if (version === 0) {
    database.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
  }
  if (options.maxFileBytes !== undefined) {
    const pages = Math.max(
      1,
      Math.floor(options.maxFileBytes / numberOf(database, "PRAGMA page_size")),
    );
    database.exec(`PRAGMA max_page_count = ${pages}`);
  }
}

function refusal(dataDir: string, path: string, error: unknown): BrokerRefusedError {
  if (error instanceof BrokerRefusedError) return error;
  if (error instanceof Error && "errcode" in error && BUSY_CODES.includes(error.errcode)) {
    return new BrokerRefusedError(
      `Cannot use the data folder ${dataDir}: another process has its broker open. ` +
        "Stop that process, or name another folder with --data",
      { cause: error },
    );
  }
  const reason = error instanceof Error ? error.message : String(error);
  if (isDamage(error) || (error instanceof Error && "errcode" in error && error.errcode === 26)) {
    return new BrokerRefusedError(
      `Cannot read ${path}: ${reason}. It is damaged too badly to bring anything over, or no ` +
        "broker's: move it away to begin with an empty one, or name another folder with --data",
      { cause: error },
    );
  }
  return new BrokerRefusedError(
    `Cannot open ${path}: ${reason}. The folder must be writable and the file a broker's; ` +
      "name another folder with --data",
    { cause: error },
  );
}

function numberOf(database: DatabaseSync, pragma: string): number {
  const row = database.prepare(pragma).get();
  return Number(Object.values(row ?? {})[0] ?? 0);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
