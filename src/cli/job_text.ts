/** Jobs, dead letters and schedules as fronts send them, for people to read. */
import { formatDuration } from "../lifecycle/duration.ts";
import { indentJson } from "./ending_text.ts";
import { EXIT } from "./exit_code.ts";
import { isRecord, type Row } from "./table.ts";

export type ShownRecord = Readonly<Record<string, unknown>>;

export const JOB_HEADINGS: Row = ["JOB", "TASK", "STATE", "ATTEMPT", "CREATED", "FINISHED", "NODE"];
export const LETTER_HEADINGS: Row = ["JOB", "TASK", "STATE", "ATTEMPTS", "GIVEN UP", "WHY"];
export const SCHEDULE_HEADINGS: Row = ["SCHEDULE", "TASK", "RHYTHM", "STATE", "NEXT", "LAST"];

/** Characters of a reason that a table has room for. */
const MAX_REASON = 60;

export function jobRow(job: ShownRecord): Row {
  return [
    cell(job["id"]),
    cell(job["task"]),
    cell(job["state"]),
    cell(job["attempt"]),
    instantCell(job["createdAt"]),
    instantCell(job["finishedAt"]),
    cell(job["node"]),
  ];
}

export function letterRow(job: ShownRecord): Row {
  const { at, reason } = recordOf(job["deadLetter"]);
  return [
    cell(job["id"]),
    cell(job["task"]),
    cell(job["state"]),
    cell(job["attempt"]),
    instantCell(at),
    shortened(cell(reason)),
  ];
}

export function scheduleRow(schedule: ShownRecord): Row {
  return [
    cell(schedule["name"]),
    cell(schedule["task"]),
    cell(schedule["rhythm"]),
    cell(schedule["state"]),
    instantCell(schedule["nextAt"]),
    instantCell(schedule["lastFiredAt"]),
  ];
}

/** All that is known of a job, a line each. */
export function jobText(job: ShownRecord): string {
  const { type, message, stack } = recordOf(job["error"]);
  const { reason } = recordOf(job["deadLetter"]);
  const lines: readonly (readonly [string, string])[] = [
    ["job", cell(job["id"])],
    ["task", cell(job["task"])],
    ["queue", cell(job["queue"])],
    ["state", cell(job["state"])],
    ["attempt", cell(job["attempt"])],
    ["progress", progressText(recordOf(job["progress"]))],
    ["created", instantCell(job["createdAt"])],
    ["due", instantCell(job["dueAt"])],
    ["started", instantCell(job["startedAt"])],
    ["finished", instantCell(job["finishedAt"])],
    ["node", cell(job["node"])],
    ["error", type === undefined ? "" : `${cell(type)}: ${cell(message)}`],
    ["stack", cell(stack)],
    ["given up", cell(reason)],
    ["input", job["input"] === undefined ? "" : JSON.stringify(job["input"])],
    ["hidden", Array.isArray(job["redacted"]) ? job["redacted"].join(", ") : ""],
    ...attemptsOf(job).map((attempt, index): readonly [string, string] => [
      index === 0 ? "attempts" : "",
      attemptText(attempt),
    ]),
    ["result", job["result"] === undefined ? "" : indentJson(JSON.stringify(job["result"]))],
  ];
  return lines
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `${name.padEnd(10)}${value.replaceAll("\n", `\n${" ".repeat(10)}`)}\n`)
    .join("");
}

/** One line about what a job does now. */
export function stateLine(job: ShownRecord): string {
  const { type, message } = recordOf(job["error"]);
  const attempt = job["attempt"] === 1 ? "" : ` (attempt ${cell(job["attempt"])})`;
  return `${cell(job["state"])}${attempt}${
    type === undefined ? "" : `: ${cell(type)}: ${cell(message)}`
  }`;
}

const BAR_WIDTH = 30;

/** Such as "[###   ]  50% downloaded". */
export function progressBar({ fraction, message }: ShownRecord): string {
  const share = typeof fraction === "number" ? Math.min(1, Math.max(0, fraction)) : undefined;
  const bar = share === undefined
    ? ""
    : `[${"#".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH)}] ${
      `${Math.round(share * 100)}`.padStart(3)
    }% `;
  return `${bar}${cell(message)}`.trimEnd();
}

/** What a job's end is as an exit code; one that has not ended was waited for in vain. */
export function exitCodeOf(state: unknown): number {
  switch (state) {
    case "succeeded":
      return EXIT.well;
    case "failed":
    case "cancelled":
      return EXIT.failed;
    default:
      return EXIT.timedOutOrExpired;
  }
}

export function isEnded(state: unknown): boolean {
  return state === "succeeded" || state === "failed" || state === "timed_out" ||
    state === "expired" || state === "cancelled";
}

export function recordOf(value: unknown): ShownRecord {
  return isRecord(value) ? value : {};
}

function attemptsOf(job: ShownRecord): readonly ShownRecord[] {
  return Array.isArray(job["attempts"]) ? job["attempts"].filter(isRecord) : [];
}

function attemptText({ attempt, outcome, node, startedAt, endedAt, error }: ShownRecord): string {
  const { type, message } = recordOf(error);
  const took = typeof startedAt === "string" && typeof endedAt === "string"
    ? ` after ${formatDuration(Math.max(0, Date.parse(endedAt) - Date.parse(startedAt)))}`
    : "";
  const where = node === undefined ? "" : ` on ${cell(node)}`;
  const why = type === undefined ? "" : ` (${cell(type)}: ${shortened(cell(message))})`;
  const how = outcome === undefined ? "not ended" : cell(outcome);
  return `${cell(attempt)}. ${how}${took}${where}${why}`;
}

function progressText(progress: ShownRecord): string {
  return progress["at"] === undefined ? "" : progressBar(progress);
}

function cell(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? `${value}` : "";
}

/** To the second, in UTC, as the front told it. */
function instantCell(value: unknown): string {
  return typeof value === "string" ? value.replace("T", " ").replace(/\.\d+Z$/, "Z") : "";
}

function shortened(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length <= MAX_REASON ? line : `${line.slice(0, MAX_REASON - 1)}…`;
}
