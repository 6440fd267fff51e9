/** `app queues`: what waits where, and pausing, resuming and purging one of them. */
import type { ListConfig } from "../config/config.ts";
import { EXIT } from "./exit_code.ts";
import { type Output, printable } from "./output.ts";
import { isRecord, listOf, type Row, tableOf } from "./table.ts";

export type QueueAction = "pause" | "resume" | "purge";

export const QUEUE_ACTIONS: readonly QueueAction[] = ["pause", "resume", "purge"];

/** Who knows the queues: a front, or a broker that is asked directly. */
export interface QueueSource {
  /** JSON text of an array. @throws StartupError */
  queues(): Promise<string>;
  /** Does it and tells what was done, as JSON text. @throws StartupError saying why not. */
  steer(action: QueueAction, queue: string): Promise<string>;
}

type Settings = Pick<ListConfig, "json" | "target">;

const HEADINGS = ["QUEUE", "FOR", "MESSAGES", "CONSUMERS", "IN/S", "DONE/S", "STATE", "NODES"];

/** @throws StartupError when nobody can be asked, or answers with something else. */
export async function runQueues(
  { json, target }: Settings,
  source: QueueSource,
  output: Output,
): Promise<number> {
  const text = await source.queues();
  if (json) output.print(`${text.trim()}\n`);
  else {
    const rows = listOf(text, "queues", target.kind === "front" ? target.url : "the broker")
      .map(rowOf);
    output.print(printable(tableOf(HEADINGS, rows)));
  }
  return EXIT.well;
}

/** @throws StartupError when it cannot be done. */
export async function runQueueAction(
  { json }: Settings,
  action: QueueAction,
  queue: string,
  source: QueueSource,
  output: Output,
): Promise<number> {
  const text = await source.steer(action, queue);
  output.print(json ? `${text.trim()}\n` : printable(`${told(action, queue, text)}\n`));
  return EXIT.well;
}

function told(action: QueueAction, queue: string, text: string): string {
  switch (action) {
    case "pause":
      return `Queue "${queue}" is paused: no worker takes from it until it is resumed.`;
    case "resume":
      return `Queue "${queue}" is resumed.`;
    case "purge": {
      const answer: unknown = JSON.parse(text);
      const purged = isRecord(answer) ? answer["purged"] : undefined;
      return `Queue "${queue}" is empty: ${String(purged)} messages were removed.`;
    }
  }
}

function rowOf(queue: Record<string, unknown>): Row {
  const { messages, consumers, isPaused, nodes } = queue;
  return [
    String(queue["queue"]),
    purposeOf(queue),
    numberText(messages),
    numberText(consumers),
    numberText(queue["deliveredPerSecond"]),
    numberText(queue["settledPerSecond"]),
    messages === null ? "not there" : isPaused === true ? "paused" : "",
    Array.isArray(nodes) ? nodes.join(", ") : "",
  ];
}

/** What it is for: a consumer's with the exchange and the keys that it is bound by. */
function purposeOf({ kind, exchange, keys }: Record<string, unknown>): string {
  if (typeof exchange !== "string") return String(kind ?? "");
  return `${exchange}: ${Array.isArray(keys) ? keys.join(" ") : ""}`;
}

function numberText(value: unknown): string {
  return typeof value === "number" ? `${value}` : "";
}
