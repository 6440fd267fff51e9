/** Values as PostgreSQL takes and gives them. */
import type { Row } from "postgres";

/** PostgreSQL's text holds neither a NUL nor half a character; what is searched loses them. */
export function searchable(text: string): string {
  return text.replaceAll("\0", "\ufffd").toWellFormed();
}

/** Rows as one parameter, for `json_to_recordset((… ::text)::json)`. */
export function rowsText(rows: readonly unknown[]): string {
  return JSON.stringify(rows);
}

export function textOf(row: Row, name: string): string {
  return String(row[name] ?? "");
}

export function textOrNull(row: Row, name: string): string | null {
  const value: unknown = row[name];
  return value === null || value === undefined ? null : String(value);
}

/** A bigint comes as text. */
export function numberOf(row: Row, name: string): number {
  return Number(row[name] ?? 0);
}

export function numberOrNull(row: Row, name: string): number | null {
  const value: unknown = row[name];
  return value === null || value === undefined ? null : Number(value);
}
