/**
 * Sets up logging, once a process: one line an event on stderr (results go to stdout), pretty on a
 * terminal, JSON lines elsewhere, secrets taken out of every line. Parts get their loggers with
 * `getLogger(["coxswain", "<part>"])` and know nothing of this.
 */
import { isatty } from "node:tty";
import {
  configure,
  getJsonLinesFormatter,
  type LogLevel,
  type LogRecord,
  type TextFormatter,
} from "@logtape/logtape";
import { createLineWriter } from "./line_writer.ts";
import { createTextRedaction, isSecretName, redactFields } from "./redaction.ts";

const STDERR = 2;

export interface LoggingOptions {
  readonly level: LogLevel;
  /** "auto": pretty where stderr is a terminal, else JSON lines. */
  readonly format: "pretty" | "json" | "auto";
  /** Texts that are never written. */
  readonly secrets: readonly string[];
}

/** Where lines go; for tests. */
export interface LogOutput {
  readonly isTerminal: boolean;
  readonly write: (line: string) => void;
}

/** Configures all loggers of the process; a second time replaces the first. */
export async function configureLogging(
  { level, format, secrets }: LoggingOptions,
  output: LogOutput = { isTerminal: isatty(STDERR), write: createLineWriter(STDERR) },
): Promise<void> {
  const isPretty = format === "pretty" || (format === "auto" && output.isTerminal);
  const formatRecord = isPretty
    ? await prettyFormatter(output.isTerminal)
    : getJsonLinesFormatter({ categorySeparator: ".", properties: "nest:fields" });
  const redactLine = createTextRedaction(secrets);
  await configure({
    reset: true,
    sinks: {
      // Fields first, by their names; then the line, for what stands in texts.
      stderr: (record) => output.write(redactLine(formatRecord(redactRecord(record)))),
    },
    loggers: [
      { category: [], lowestLevel: level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stderr"] },
    ],
  });
}

/** Only a terminal needs it, so only then is it loaded. */
async function prettyFormatter(colors: boolean): Promise<TextFormatter> {
  const { getPrettyFormatter } = await import("@logtape/pretty");
  const formatPretty = getPrettyFormatter({
    timestamp: "time",
    icons: false,
    wordWrap: false,
    categoryWidth: 20,
    colors: colors && !process.env["NO_COLOR"],
  });
  return (record) => formatPretty(withFieldsInLine(record));
}

/** A copy of the record without the values of secret names, in its fields and in its message. */
export function redactRecord(record: LogRecord): LogRecord {
  const fields = redactFields(record.properties);
  const names = placeholders(record.rawMessage);
  const message = record.message.map((part, index) => {
    if (index % 2 === 0) return part;
    const name = names[(index - 1) / 2];
    if (name !== undefined && isSecretName(name)) return "[redacted]";
    if (typeof part !== "object" || part === null) return part;
    return redactFields({ part })["part"];
  });
  return { ...record, message, properties: fields };
}

/** Names between braces, in their order: the message's odd parts. Tagged templates have none. */
function placeholders(rawMessage: string | TemplateStringsArray): readonly string[] {
  if (typeof rawMessage !== "string") return [];
  const plain = rawMessage.replaceAll("{{", "").replaceAll("}}", "");
  return [...plain.matchAll(/\{([^{}]*)\}/g)].map((match) => match[1]?.trim() ?? "");
}

/** Fields that the message does not name follow it as `name=value`; a stack on lines of its own. */
function withFieldsInLine(record: LogRecord): LogRecord {
  const named = new Set(placeholders(record.rawMessage));
  const rest = Object.entries(record.properties).filter(([name]) => !named.has(name));
  if (rest.length === 0) return record;
  const texts = rest.map(([name, value]) => `${name}=${fieldText(value)}`);
  const stacks = rest.map(([, value]) => stackOf(value)).filter((stack) => stack !== undefined);
  const tail = [`  ${texts.join(" ")}`, ...stacks].join("\n");
  const last = record.message.at(-1);
  const message = typeof last === "string"
    ? [...record.message.slice(0, -1), last + tail]
    : [...record.message, tail];
  return { ...record, message };
}

function fieldText(value: unknown): string {
  if (typeof value === "string") return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
  if (typeof value === "bigint") return `${value}`;
  if (isPlainError(value)) return JSON.stringify(`${value.name}: ${value.message}`);
  return JSON.stringify(value) ?? String(value);
}

function stackOf(value: unknown): string | undefined {
  return isPlainError(value) && typeof value.stack === "string" ? value.stack : undefined;
}

/** An error as `redactFields` leaves it. */
function isPlainError(value: unknown): value is { name: string; message: string; stack?: unknown } {
  return typeof value === "object" && value !== null && "name" in value && "message" in value &&
    "stack" in value && typeof value.name === "string" && typeof value.message === "string";
}
