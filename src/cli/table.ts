/** Lists that fronts send, as tables for people. */
import { StartupError } from "./startup_error.ts";

export type Row = readonly string[];

/**
 * The elements of a front's list.
 * @param what such as "tasks", for the message.
 * @throws StartupError when it is no JSON list.
 */
export function listOf(
  text: string,
  what: string,
  from: string,
): readonly Record<string, unknown>[] {
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list)) return list.filter(isRecord);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new StartupError(`What answers at ${from} is no front: its list of ${what} is not JSON`);
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** Lines with columns as wide as they need to be. */
export function tableOf(headings: Row, rows: readonly Row[]): string {
  const lines: readonly Row[] = [headings, ...rows];
  const widths = headings.map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0))
  );
  return lines
    .map((line) =>
      line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()
    )
    .map((line) => `${line}\n`)
    .join("");
}
