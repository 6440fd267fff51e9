/** Values of SQLite's columns as what they were written as. */
import type { DatabaseSync, SQLOutputValue } from "node:sqlite";

export type Row = Readonly<Record<string, SQLOutputValue>>;

export function textOf(row: Row, name: string): string {
  return String(row[name] ?? "");
}

export function textOrNull(row: Row, name: string): string | null {
  const value = row[name];
  return value === null || value === undefined ? null : String(value);
}

export function numberOf(row: Row, name: string): number {
  return Number(row[name] ?? 0);
}

export function numberOrNull(row: Row, name: string): number | null {
  const value = row[name];
  return value === null || value === undefined ? null : Number(value);
}

/** Runs something in a transaction of its own: all of it, or nothing. */
export function inTransaction<T>(database: DatabaseSync, run: () => T): T {
  database.exec("BEGIN IMMEDIATE");
  try {
    const result = run();
    database.exec("COMMIT");
    return result;
  } catch (error) {
    // Some errors (a full disk) have rolled back already.
    if (database.isTransaction) database.exec("ROLLBACK");
    throw error;
  }
}
