/** `app tasks`: what workers serve, as a table or as JSON. */
import type { ListConfig } from "../config/config.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import { EXIT } from "./exit_code.ts";
import { type Output, printable } from "./output.ts";
import { listOf, type Row, tableOf } from "./table.ts";

/** @throws StartupError when the front cannot be asked, or answers with something else. */
export async function runTasks(
  { json, target }: Pick<ListConfig, "json" | "target">,
  source: { readonly tasks: () => Promise<string> },
  output: Output,
): Promise<number> {
  const text = await source.tasks();
  if (json) {
    output.print(`${text.trim()}\n`);
    return EXIT.well;
  }
  const rows = listOf(text, "tasks", target.kind === "front" ? target.url : "the broker").map(
    rowOf,
  );
  output.print(
    rows.length === 0
      ? "No worker has announced a task.\n"
      : printable(tableOf(["TASK", "QUEUE", "LIMIT", "ISOLATION", "NODES"], rows)),
  );
  return EXIT.well;
}

function rowOf({ name, queue, timeoutMs, isolation, nodes }: Record<string, unknown>): Row {
  return [
    String(name),
    String(queue ?? ""),
    typeof timeoutMs === "number" ? formatDuration(timeoutMs) : "",
    String(isolation ?? ""),
    Array.isArray(nodes) && nodes.length > 0 ? nodes.join(", ") : "none alive",
  ];
}
