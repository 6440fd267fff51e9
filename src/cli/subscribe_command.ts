/** `app subscribe`: what is published on channels, one line a message, until it is told to stop. */
import type { SubscribeConfig } from "../config/config.ts";
import { parseExactly } from "../calls/exact_json.ts";
import { EXIT } from "./exit_code.ts";
import { type Output, printable } from "./output.ts";
import { isRecord } from "./table.ts";

export interface SubscribeOptions {
  /** Id of the message that was seen last. */
  readonly after?: string;
  /** Ends the subscription. */
  readonly signal: AbortSignal;
}

/** Where messages come from: a front, or a broker that is asked directly. */
export interface ChannelSource {
  /**
   * Each message, or gap, as the JSON text of one object. Ends when the signal aborts.
   * @throws StartupError when nothing can be had from there.
   */
  subscribe(pattern: string, options: SubscribeOptions): AsyncIterable<string>;
}

/** Ctrl-C is how it is meant to end. */
export async function runSubscribe(
  { count, after, json }: Pick<SubscribeConfig, "count" | "after" | "json">,
  pattern: string,
  source: ChannelSource,
  output: Output,
  interrupt: AbortSignal,
): Promise<number> {
  let messages = 0;
  const options = { signal: interrupt, ...(after === undefined ? {} : { after }) };
  for await (const text of source.subscribe(pattern, options)) {
    const event = eventOf(text);
    if (event === undefined) {
      output.printError(`Passed over what is no message: ${printable(text.slice(0, 200))}\n`);
      continue;
    }
    if (json) output.print(`${text}\n`);
    else if (event.kind === "message") output.print(`${event.line}\n`);
    if (event.kind === "gap" && !json) output.printError(`${event.line}\n`);
    if (event.kind === "message") messages += 1;
    // Nobody reads any more (`| head`).
    if (messages === count || output.isReaderGone === true) break;
  }
  return EXIT.well;
}

interface Event {
  readonly kind: "message" | "gap";
  /** For people. */
  readonly line: string;
}

function eventOf(text: string): Event | undefined {
  let event: unknown;
  try {
    event = parseExactly(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  if (!isRecord(event)) return undefined;
  if ("gap" in event) return { kind: "gap", line: gapLine(event) };
  const { at, channel, message, contentType } = event;
  const isPlain = typeof message === "string" && typeof contentType === "string" &&
    !/[\r\n]/.test(message);
  const shown = isPlain ? message : JSON.stringify(message);
  return { kind: "message", line: printable(`${at} ${channel} ${shown}`) };
}

const REASONS: Readonly<Record<string, string>> = {
  too_slow: "they came faster than they were read",
  broker_away: "the broker was away",
  not_kept: "what followed the id that was seen last is not kept any more",
};

function gapLine({ gap, missed }: Readonly<Record<string, unknown>>): string {
  const count = typeof missed === "number" ? `${missed}` : "Some";
  return `${count} messages may have been missed: ${REASONS[String(gap)] ?? String(gap)}`;
}
