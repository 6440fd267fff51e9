/** `app devices`: who is connected where, what became of one, and a line to one of them. */
import type { DevicesCommandConfig } from "../config/config.ts";
import { EXIT } from "./exit_code.ts";
import { type Output, printable } from "./output.ts";
import { StartupError } from "./startup_error.ts";
import { isRecord, listOf, type Row, tableOf } from "./table.ts";

export type DevicesAction =
  | { readonly kind: "list" }
  | { readonly kind: "show"; readonly id: string }
  | { readonly kind: "send"; readonly id: string; readonly line: string };

/** A page of a list as JSON text of an array, and where the next one begins. */
export interface DevicePageText {
  readonly text: string;
  readonly next?: string;
}

/** Who knows the devices: a front, or the nodes on a broker that are asked directly. */
export interface DeviceSource {
  /** @throws StartupError saying why it cannot be had; so do the others. */
  devices(filter: DevicesCommandConfig["filter"]): Promise<DevicePageText>;
  /** JSON text. */
  device(id: string): Promise<string>;
  /**
   * Sends it a line, and waits for its next one where that is wanted: what came of it, as JSON text
   * with the `node` that wrote it and, where it came, the `reply` (`{base64}` where it is no text).
   */
  sendToDevice(id: string, line: string, replyMs: number | undefined): Promise<string>;
}

export function readDevicesWords(
  [action = "list", id, line, ...more]: readonly string[],
): { readonly action: DevicesAction } | { readonly mistake: string } {
  if (more.length > 0) return tooMuch(more);
  switch (action) {
    case "list":
      return id === undefined ? { action: { kind: "list" } } : tooMuch([id]);
    case "show":
      if (id === undefined) return { mistake: "Which device? show needs its id" };
      return line === undefined ? { action: { kind: "show", id } } : tooMuch([line]);
    case "send":
      return id === undefined || line === undefined
        ? { mistake: "Which line to which device? send needs an id and a line" }
        : { action: { kind: "send", id, line } };
    default:
      return { mistake: `"${action}": there are list, show, send` };
  }
}

function tooMuch(words: readonly string[]): { readonly mistake: string } {
  return { mistake: `"${words.join(" ")}" is too much; quote what has spaces` };
}

const HEADINGS = ["DEVICE", "NODE", "ADDRESS", "CONNECTED", "LAST SEEN"] as const;
const STATE_HEADINGS = [...HEADINGS, "STATE", "SINCE", "REASON"] as const;
const HISTORY_HEADINGS = ["STATE", "AT", "NODE", "ADDRESS", "REASON"] as const;

/** @throws StartupError when nobody can be asked, or answers with something else. */
export async function runDevices(
  config: DevicesCommandConfig,
  action: DevicesAction,
  source: DeviceSource,
  output: Output,
): Promise<number> {
  switch (action.kind) {
    case "list":
      return await list(config, source, output);
    case "show":
      return tell(config, await source.device(action.id), output, deviceText);
    case "send": {
      const text = await source.sendToDevice(action.id, action.line, config.replyMs);
      return tell(config, text, output, sentText);
    }
  }
}

async function list(
  { json, target, filter }: DevicesCommandConfig,
  source: DeviceSource,
  output: Output,
): Promise<number> {
  const { text, next } = await source.devices(filter);
  if (json) output.print(`${text.trim()}\n`);
  else {
    const devices = listOf(text, "devices", target.kind === "front" ? target.url : "the broker");
    const isOfStates = filter.state !== "online";
    const rows = devices.map((device) =>
      isOfStates ? [...rowOf(device), ...stateOf(device)] : rowOf(device)
    );
    output.print(
      rows.length === 0
        ? `No device is ${isOfStates ? "known" : "connected"}.\n`
        : printable(tableOf(isOfStates ? STATE_HEADINGS : HEADINGS, rows)),
    );
  }
  if (next !== undefined) output.printError(`There are more: --cursor ${next}\n`);
  return EXIT.well;
}

function tell(
  { json }: DevicesCommandConfig,
  text: string,
  output: Output,
  say: (answer: Readonly<Record<string, unknown>>) => string,
): number {
  output.print(json ? `${text.trim()}\n` : printable(say(parsed(text))));
  return EXIT.well;
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const answer: unknown = JSON.parse(text);
    if (isRecord(answer)) return answer;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new StartupError(`What answered is no front: ${text.slice(0, 100)}`);
}

function rowOf({ id, node, address, connectedAt, lastSeenAt }: Record<string, unknown>): Row {
  return [id, node, address, connectedAt, lastSeenAt].map(cell);
}

function stateOf({ state, changedAt, reason }: Record<string, unknown>): Row {
  return [state, changedAt, reason].map(cell);
}

function deviceText(device: Readonly<Record<string, unknown>>): string {
  const { history, ...members } = device;
  const names = ["id", "state", "reason", "node", "address", "connectedAt", "lastSeenAt"];
  const lines = names.flatMap((name) =>
    members[name] === undefined ? [] : [`${`${name}:`.padEnd(13)}${cell(members[name])}\n`]
  );
  const changes = Array.isArray(history) ? history.filter(isRecord) : [];
  if (changes.length === 0) return lines.join("");
  const rows = changes.map(({ state, at, node, address, reason }) =>
    [state, at, node, address, reason].map(cell)
  );
  return `${lines.join("")}\n${tableOf(HISTORY_HEADINGS, rows)}`;
}

/** A reply is what a script wants; that there was none to wait for is for people. */
function sentText({ node, reply }: Readonly<Record<string, unknown>>): string {
  if (typeof reply === "string") return `${reply}\n`;
  return isRecord(reply)
    ? `Bytes that are no text, in base64: ${cell(reply["base64"])}\n`
    : `Written by node ${cell(node)}.\n`;
}

function cell(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? `${value}` : "";
}
