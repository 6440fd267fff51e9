/**
 * Brings what can be read out of a damaged broker file into a new one. The damaged file is kept beside
 * it. What is read row by row from both ends of a table, and past the places where it cannot be read,
 * is as it was committed; which of the messages had been handed out is no longer known, so that all
 * count as handed out: they come marked as redelivered.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
} from "node:fs";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";

export interface Salvaged {
  readonly messages: number;
  readonly queues: number;
  /** Messages that were read, but not the queue that they were in. */
  readonly orphans: number;
  /** Where the damaged file is now. */
  readonly keptAt: string;
}

type Row = Readonly<Record<string, SQLInputValue>>;

/** Small tables, with what orders their rows. */
const TABLES = {
  exchanges: "name",
  queues: "id",
  bindings: "exchange, queue, routing_key, arguments",
} as const;

/** How far it is looked for the next row that can be read, at most: ids grow by one. */
const MAX_LEAP = 2 ** 40;

/**
 * @param damaged open; it is closed.
 * @param create makes and opens an empty broker file.
 * @throws Error from SQLite where not even the list of tables can be read; then nothing has changed.
 */
export function salvage(
  path: string,
  damaged: DatabaseSync,
  create: (path: string) => DatabaseSync,
  now: number,
): Salvaged {
  const fresh = `${path}.new`;
  rmSync(fresh, { force: true });
  let queues = 0;
  let messages = 0;
  let orphans = 0;
  try {
    const whole = create(fresh);
    try {
      whole.exec("BEGIN");
      for (const [table, order] of Object.entries(TABLES)) {
        for (const row of rowsFromBothEnds(damaged, table, order)) insert(whole, table, row);
      }
      for (const row of messageRows(damaged)) insert(whole, "messages", row);
      // Whose row is lost, but who sent to it named it.
      whole.exec(
        "INSERT OR IGNORE INTO queues SELECT queue, min(routing_key), '{\"durable\":true}' " +
          "FROM messages WHERE exchange = '' AND routing_key <> '' " +
          "AND queue NOT IN (SELECT id FROM queues) GROUP BY queue",
      );
      whole.exec(
        "INSERT INTO marks SELECT queue, priority, max(id) FROM messages GROUP BY queue, priority",
      );
      queues = count(whole, "SELECT count(*) AS n FROM queues");
      messages = count(
        whole,
        "SELECT count(*) AS n FROM messages WHERE queue IN (SELECT id FROM queues)",
      );
      orphans = count(whole, "SELECT count(*) AS n FROM messages") - messages;
      whole.exec("COMMIT");
    } finally {
      whole.close();
    }
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
  damaged.close();
  const keptAt = `${path}.damaged-${new Date(now).toISOString().replaceAll(":", "-")}`;
  renameSync(path, keptAt);
  // Its last changes, where they had not found their way into the file.
  for (const suffix of ["-wal", "-shm"]) moveIfThere(`${path}${suffix}`, `${keptAt}${suffix}`);
  renameSync(fresh, path);
  return { messages, queues, orphans, keptAt };
}

/** The rows up to the first that cannot be read, and those behind the last. */
function rowsFromBothEnds(database: DatabaseSync, table: string, order: string): Row[] {
  const backwards = order.split(", ").map((column) => `${column} DESC`).join(", ");
  return [
    ...readable(database, `SELECT * FROM ${table} ORDER BY ${order}`),
    ...readable(database, `SELECT * FROM ${table} ORDER BY ${backwards}`),
  ];
}

/** Leaps over what cannot be read, further each time. */
function* messageRows(database: DatabaseSync): Generator<Row> {
  const [last] = readable(database, "SELECT id FROM messages ORDER BY id DESC LIMIT 1");
  const end = last === undefined ? MAX_LEAP : Number(last["id"]);
  let from = 0;
  let leap = 1;
  while (from <= end) {
    const start = from;
    for (const row of readable(database, "SELECT * FROM messages WHERE id > ? ORDER BY id", from)) {
      from = Number(row["id"]);
      yield row;
    }
    if (from > start) leap = 1;
    from += leap;
    leap *= 2;
  }
}

/** The rows of a query until one cannot be read. */
function* readable(
  database: DatabaseSync,
  sql: string,
  ...values: SQLInputValue[]
): Generator<Row> {
  try {
    for (const row of database.prepare(sql).iterate(...values)) yield row as Row;
  } catch (error) {
    if (!isDamage(error)) throw error;
  }
}

function insert(database: DatabaseSync, table: string, row: Row): void {
  const columns = Object.keys(row);
  try {
    database.prepare(
      `INSERT OR IGNORE INTO ${table} (${columns.join(", ")}) VALUES (${columns.map(() => "?")})`,
    ).run(...Object.values(row));
  } catch (error) {
    // A value of another type than its column's was read from the wrong place.
    if (!(error instanceof Error && "errcode" in error)) throw error;
  }
}

function count(database: DatabaseSync, sql: string): number {
  return Number(database.prepare(sql).get()?.["n"]);
}

function moveIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
}

/** The header of a SQLite file, as far as it tells its size: https://sqlite.org/fileformat2.html */
const HEADER_BYTES = 32;
const PAGE_SIZE_AT = 16;
const PAGE_COUNT_AT = 28;
/** A header that announces more than that is damaged itself. */
const MAX_MISSING_BYTES = 2 ** 30;

/**
 * Gives a file that was cut its announced size back, with zeros: SQLite opens none that is shorter than
 * its header says, though what is left of it can be read.
 */
export function fillUp(path: string): void {
  const file = openSync(path, "r+");
  try {
    const header = Buffer.alloc(HEADER_BYTES);
    if (readSync(file, header, 0, HEADER_BYTES, 0) < HEADER_BYTES) return;
    // 1 stands for 65,536.
    const pageBytes = header.readUInt16BE(PAGE_SIZE_AT) || 1;
    const wanted = (pageBytes === 1 ? 65_536 : pageBytes) * header.readUInt32BE(PAGE_COUNT_AT);
    const { size } = fstatSync(file);
    if (wanted > size && wanted - size <= MAX_MISSING_BYTES) ftruncateSync(file, wanted);
  } finally {
    closeSync(file);
  }
}

/** SQLITE_CORRUPT, with or without its extension: a place in the file is not what it must be. */
export function isDamage(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === 11;
}

/** Whether SQLite finds the structure of the file whole; contents have no checksums. */
export function isWhole(database: DatabaseSync): boolean {
  try {
    return database.prepare("PRAGMA quick_check(1)").get()?.["quick_check"] === "ok";
  } catch (error) {
    if (isDamage(error)) return false;
    throw error;
  }
}
