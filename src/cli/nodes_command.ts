/** `app nodes`: who is there and what they do, as a table or as JSON. */
import type { ListConfig } from "../config/config.ts";
import { EXIT } from "./exit_code.ts";
import { type Output, printable } from "./output.ts";
import { isRecord, listOf, type Row, tableOf } from "./table.ts";

const HEADINGS = [
  "NODE",
  "KIND",
  "ROLE",
  "STATE",
  "VERSION",
  "UP",
  "BEACON",
  "RUNNING",
  "WAITING",
  "ISOLATES",
  "CONSUMERS",
  "MEMORY",
  "TASKS",
] as const;

/**
 * @param now epoch milliseconds.
 * @throws StartupError when the front cannot be asked, or answers with something else.
 */
export async function runNodes(
  { json, target }: Pick<ListConfig, "json" | "target">,
  source: { readonly nodes: () => Promise<string> },
  output: Output,
  now: number = Date.now(),
): Promise<number> {
  const text = await source.nodes();
  if (json) {
    output.print(`${text.trim()}\n`);
    return EXIT.well;
  }
  const rows = listOf(text, "nodes", target.kind === "front" ? target.url : "the broker")
    .map((node) => rowOf(node, now));
  output.print(
    rows.length === 0 ? "No node has told that it is there.\n" : printable(tableOf(HEADINGS, rows)),
  );
  return EXIT.well;
}

function rowOf(node: Record<string, unknown>, now: number): Row {
  const { id, kind, role, state, version, startedAt, lastBeaconAt, tasks } = node;
  const load = isRecord(node["load"]) ? node["load"] : {};
  const { running, waiting, isolates, stuckIsolates, consumers, memoryBytes } = load;
  return [
    String(id),
    String(kind ?? ""),
    String(role ?? ""),
    String(state ?? ""),
    String(version ?? ""),
    state === "gone" || state === "left" ? "" : ageOf(startedAt, now),
    typeof lastBeaconAt === "string" ? `${ageOf(lastBeaconAt, now)} ago` : "none",
    numberText(running),
    numberText(waiting),
    typeof stuckIsolates === "number" && stuckIsolates > 0
      ? `${numberText(isolates)} (${stuckIsolates} stuck)`
      : numberText(isolates),
    consumersText(consumers),
    typeof memoryBytes === "number" ? `${Math.round(memoryBytes / 2 ** 20)}MiB` : "",
    Array.isArray(tasks) ? `${tasks.length}` : "",
  ];
}

function numberText(value: unknown): string {
  return typeof value === "number" ? `${value}` : "";
}

/** How many of its consumers the broker knows now. */
function consumersText(consumers: unknown): string {
  if (!Array.isArray(consumers)) return "";
  const live = consumers.filter((one: unknown) => isRecord(one) && one["isLive"] === true).length;
  return live === consumers.length ? `${live}` : `${live} of ${consumers.length}`;
}

const UNITS = [["d", 86_400], ["h", 3_600], ["m", 60], ["s", 1]] as const;

/** Since an instant, in its largest unit: "3d", "5h", "12m", "7s". */
function ageOf(instant: unknown, now: number): string {
  const at = typeof instant === "string" ? Date.parse(instant) : Number.NaN;
  if (Number.isNaN(at)) return "";
  const seconds = Math.max(0, Math.round((now - at) / 1_000));
  const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? ["s", 1];
  return `${Math.floor(seconds / size)}${unit}`;
}
