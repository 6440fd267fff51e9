/**
 * Opens the store's SQLite file for this process alone. The lock is the operating system's (SQLite
 * holds it on the file), so it is gone with the process however that ends, kill -9 included.
 */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StoreAwayError, StoreRefusedError } from "../errors.ts";
import { MIGRATIONS } from "./schema.ts";

/** SQLite's primary result codes: https://sqlite.org/rescode.html */
const BUSY: ReadonlySet<number> = new Set([5, 6]);
/** Out of memory, interrupted, input/output error, disk full: these may pass. */
const PASSING: ReadonlySet<number> = new Set([7, 9, 10, 13]);

export interface DataFileOptions {
  /** Largest size of the file, in bytes. Default: what the disk holds. */
  readonly maxFileBytes?: number;
}

export function dataFilePath(dataDir: string): string {
  return join(dataDir, "jobs.sqlite");
}

/**
 * Opens or creates `jobs.sqlite` in a folder, which is created too (mode 0700).
 * @throws StoreRefusedError when another process holds it, it cannot be created, is no database, or
 *   was written by a newer program.
 */
export function openDataFile(dataDir: string, options: DataFileOptions = {}): DatabaseSync {
  const path = dataFilePath(dataDir);
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    createPrivately(path);
    database = new DatabaseSync(path);
    lock(database);
    // Each commit is on the disk, not only with the operating system, before it counts.
    database.exec("PRAGMA synchronous = FULL");
    database.exec("PRAGMA journal_size_limit = 67108864");
    database.exec("PRAGMA cache_size = -65536");
    migrate(database, path);
    limitSize(database, options);
    return database;
  } catch (error) {
    database?.close();
    throw refusal(dataDir, path, error);
  }
}

/** What an adapter throws for what SQLite threw. */
export function storeError(path: string, error: unknown): Error {
  const reason = error instanceof Error ? error.message : String(error);
  return PASSING.has(codeOf(error)) || BUSY.has(codeOf(error))
    ? new StoreAwayError(`Cannot use ${path} now: ${reason}. Is the disk full?`, { cause: error })
    : new StoreRefusedError(`Cannot use ${path}: ${reason}`, { cause: error });
}

/** Whether SQLite itself failed, rather than what called it. */
export function isSqliteError(error: unknown): boolean {
  return codeOf(error) !== 0;
}

/** Readable by its owner alone. Only ever creates, so that no lock of this process is let go. */
function createPrivately(path: string): void {
  try {
    closeSync(openSync(path, "wx", 0o600));
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
}

/** In exclusive mode the first write takes the lock and keeps it until the file is closed. */
function lock(database: DatabaseSync): void {
  database.exec("PRAGMA locking_mode = EXCLUSIVE");
  database.exec("PRAGMA journal_mode = WAL");
  database.exec("BEGIN EXCLUSIVE; COMMIT");
}

function migrate(database: DatabaseSync, path: string): void {
  const version = numberOf(database, "PRAGMA user_version");
  if (version > MIGRATIONS.length) {
    throw new StoreRefusedError(
      `Cannot use ${path}: a newer version of this program wrote it (format ${version}, ` +
        `${MIGRATIONS.length} is understood). Run that version, or name another folder with --data`,
    );
  }
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    database.exec(`BEGIN; ${migration} PRAGMA user_version = ${index + 1}; COMMIT`);
  }
}

function limitSize(database: DatabaseSync, { maxFileBytes }: DataFileOptions): void {
  if (maxFileBytes === undefined) return;
  const pages = Math.max(1, Math.floor(maxFileBytes / numberOf(database, "PRAGMA page_size")));
  database.exec(`PRAGMA max_page_count = ${pages}`);
}

function refusal(dataDir: string, path: string, error: unknown): StoreRefusedError {
  if (error instanceof StoreRefusedError) return error;
  if (BUSY.has(codeOf(error))) {
    return new StoreRefusedError(
      `Cannot use the job records in ${dataDir}: another process has them open. Only one front can ` +
        "keep them in SQLite: stop that process, name another folder with --data, or let several " +
        "share a PostgreSQL with --store postgres://…",
      { cause: error },
    );
  }
  const reason = error instanceof Error ? error.message : String(error);
  return new StoreRefusedError(
    `Cannot open ${path}: ${reason}. The folder must be writable and the file one with job records; ` +
      "name another folder with --data",
    { cause: error },
  );
}

function numberOf(database: DatabaseSync, pragma: string): number {
  const row = database.prepare(pragma).get();
  return Number(Object.values(row ?? {})[0] ?? 0);
}

/** SQLite's primary result code; 0 where it was not SQLite. */
function codeOf(error: unknown): number {
  return error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : 0;
}
