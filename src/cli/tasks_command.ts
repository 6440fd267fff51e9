/** `app tasks`: what a front knows of tasks, as a table or as the front's own JSON. */
import type { TasksConfig } from "../config/config.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import { EXIT } from "./exit_code.ts";
import { type Output, printable } from "./output.ts";
import { StartupError } from "./startup_error.ts";

/** @throws StartupError when the front cannot be asked, or answers with something else. */
export async function runTasks(
  { json, target }: TasksConfig,
  front: { readonly tasks: () => Promise<string> },
  output: Output,
): Promise<number> {
  const text = await front.tasks();
  if (json) output.print(`${text.trim()}\n`);
  else output.print(printable(tableOf(rowsOf(text, target.url))));
  return EXIT.well;
}

const HEADINGS = ["TASK", "QUEUE", "LIMIT", "ISOLATION", "NODES"] as const;
type Row = readonly string[];

function rowsOf(text: string, url: string): Row[] {
  const tasks = listOf(text);
  if (tasks === undefined) {
    throw new StartupError(`What answers at ${url} is no front: its list of tasks is not JSON`);
  }
  return tasks.map(({ name, queue, timeoutMs, isolation, nodes }) => [
    String(name),
    String(queue ?? ""),
    typeof timeoutMs === "number" ? formatDuration(timeoutMs) : "",
    String(isolation ?? ""),
    Array.isArray(nodes) && nodes.length > 0 ? nodes.join(", ") : "none alive",
  ]);
}

function listOf(text: string): readonly Record<string, unknown>[] | undefined {
  try {
    const list: unknown = JSON.parse(text);
    return Array.isArray(list) ? list.filter(isRecord) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function tableOf(rows: readonly Row[]): string {
  if (rows.length === 0) return "No worker has announced a task.\n";
  const lines: readonly Row[] = [HEADINGS, ...rows];
  const widths = HEADINGS.map((_, column) =>
    Math.max(...lines.map((line) => line[column]?.length ?? 0))
  );
  return lines
    .map((line) =>
      line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()
    )
    .map((line) => `${line}\n`)
    .join("");
}
