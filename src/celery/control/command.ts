/**
 * A command on Celery's `celery.pidbox`, as a worker reads it, and the answer as it writes it. Anybody
 * may publish there: what is no command is told apart from one that is for others.
 * https://docs.celeryq.dev/en/stable/userguide/workers.html#remote-control
 */
import type { Delivery, Message } from "../../broker/message.ts";
import { CONTROL_REPLY_EXCHANGE } from "../../broker/topology.ts";
import { OUR_WORKERS } from "../../calls/wire/control_message.ts";
import { JSON_TYPE } from "../../calls/wire/names.ts";
import { matchesName, type NamePattern } from "./name_pattern.ts";

export interface ControlCommand {
  readonly method: string;
  readonly args: Readonly<Record<string, unknown>>;
  /** Names of the workers that it is for; empty: see `pattern`. */
  readonly destination: readonly string[];
  /** Workers whose name fits; absent: all. */
  readonly pattern?: NamePattern;
  /** Where the answer goes; absent: nobody waits for one. */
  readonly reply?: { readonly routingKey: string; readonly ticket: string | undefined };
  /** The sender's logical clock, as it came. */
  readonly clock: unknown;
  /** Epoch milliseconds after which nobody waits for the answer any more. */
  readonly expiresAt?: number;
}

export type DecodedCommand =
  | { readonly kind: "command"; readonly command: ControlCommand }
  | { readonly kind: "malformed"; readonly reason: string };

/** More than any command has; a list of revoked ids is the longest. */
const MAX_BYTES = 8 * 2 ** 20;
/** Room for clocks that differ: an answer that comes too late does no harm. */
const CLOCK_SKEW_MS = 2_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export function decodeCommand({ message, unreadable }: Delivery): DecodedCommand {
  if (unreadable !== undefined) return malformed(unreadable);
  const { body, properties: { contentType, headers = {} } } = message;
  if (body.length > MAX_BYTES) return malformed(`it has ${body.length} bytes`);
  if (contentType !== undefined && contentType !== JSON_TYPE) {
    return malformed(`its content type is ${contentType}`);
  }
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(body));
  } catch (error) {
    return malformed(`its body is not JSON (${error instanceof Error ? error.message : error})`);
  }
  if (!isRecord(json)) return malformed("its body is not an object");
  const { method, destination, pattern, matcher, ticket } = json;
  const args = json.arguments ?? {};
  if (typeof method !== "string") return malformed("it has no method");
  if (!isRecord(args)) return malformed("its arguments are not an object");
  const names = destination ?? [];
  if (!Array.isArray(names)) return malformed("its destination is not an array");
  const reply = json.reply_to ?? undefined;
  if (reply !== undefined && !isReplyAddress(reply)) {
    return malformed(`its answer is not wanted on the exchange ${CONTROL_REPLY_EXCHANGE.name}`);
  }
  const expires = typeof headers.expires === "number" ? headers.expires : 0;
  return {
    kind: "command",
    command: {
      method,
      args,
      destination: names.filter((name): name is string => typeof name === "string"),
      clock: headers.clock,
      ...(typeof pattern === "string" && typeof matcher === "string"
        ? { pattern: { text: pattern, matcher } }
        : {}),
      ...(reply === undefined ? {} : {
        reply: {
          routingKey: reply.routing_key,
          ticket: typeof ticket === "string" ? ticket : undefined,
        },
      }),
      // 0 is how Celery's clients write that it does not expire.
      ...(expires > 0 ? { expiresAt: expires * 1_000 } : {}),
    },
  };
}

/**
 * Whether a command is for a worker.
 * @param name its name among Celery's; `others`: what it may be called besides, not by a pattern.
 * @throws NamePatternError
 */
export function isFor(
  { destination, pattern }: ControlCommand,
  name: string,
  others: readonly string[] = [],
): boolean {
  if (destination.length > 0) return [name, ...others].some((one) => destination.includes(one));
  return pattern === undefined || matchesName(name, pattern);
}

/** Take nothing more from a queue, or take from it again. */
export interface QueueCommand {
  readonly queue: string;
  readonly isPaused: boolean;
  /** It was said by our own: the broker remembers it, and whoever hears this may look it up. */
  readonly isRemembered: boolean;
}

/** What our own nodes say to all workers of ours; undefined for every other command. */
export function ownQueueCommand(
  { method, args: { queue }, destination }: ControlCommand,
): QueueCommand | undefined {
  if (method !== "cancel_consumer" && method !== "add_consumer") return undefined;
  if (typeof queue !== "string" || !destination.includes(OUR_WORKERS)) return undefined;
  return { queue, isPaused: method === "cancel_consumer", isRemembered: true };
}

/** Whether nobody waits for its answer any more. */
export function isOver({ expiresAt }: ControlCommand, now: number): boolean {
  return expiresAt !== undefined && expiresAt + CLOCK_SKEW_MS < now;
}

/** The answer of one worker. */
export function encodeAnswer(
  { routingKey, ticket }: NonNullable<ControlCommand["reply"]>,
  answer: { readonly name: string; readonly valueJson: string; readonly clock: number },
): Message {
  return {
    exchange: CONTROL_REPLY_EXCHANGE.name,
    routingKey,
    properties: {
      contentType: JSON_TYPE,
      contentEncoding: "utf-8",
      persistent: false,
      headers: { ...(ticket === undefined ? {} : { ticket }), clock: answer.clock },
    },
    body: encoder.encode(`{${JSON.stringify(answer.name)}: ${answer.valueJson}}`),
  };
}

function isReplyAddress(
  value: unknown,
): value is { readonly exchange: string; readonly routing_key: string } {
  // Publishing to an exchange that is not there would close the channel for everybody's answers.
  return isRecord(value) && value.exchange === CONTROL_REPLY_EXCHANGE.name &&
    typeof value.routing_key === "string" && encoder.encode(value.routing_key).length <= 255;
}

function malformed(reason: string): DecodedCommand {
  return { kind: "malformed", reason };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
