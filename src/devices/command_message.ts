/**
 * A command on its way to the node that holds the device, and that node's answer: their shapes, their
 * JSON and their properties on `cox.devices`.
 */
import { Buffer } from "node:buffer";
import * as v from "valibot";
import { readJsonBody } from "../broker/json_body.ts";
import type { Message } from "../broker/message.ts";
import { DEVICES_EXCHANGE } from "../broker/topology.ts";
import type { DeviceLine } from "./devices.ts";
import { textOfLine } from "./framing.ts";

const Instant = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const Name = v.pipe(v.string(), v.minLength(1), v.maxLength(255));

const CommandShape = v.object({
  cmd: v.string(),
  /** Absent: written is enough. */
  replyMs: v.exactOptional(v.pipe(v.number(), v.minValue(0))),
  /** Of the connection that is meant; one with an older epoch is not. Absent: whichever there is. */
  epoch: v.exactOptional(Instant),
  /** Epoch milliseconds by the sender's clock: after this nobody waits for it. */
  writeBy: Instant,
});

export type Command = v.InferOutput<typeof CommandShape>;

/** A command as the node that holds its device gets it. */
export interface ReceivedCommand {
  readonly kind: "command";
  readonly id: string;
  readonly command: Command;
  /** Where the answer goes, and how it is told apart; absent: nobody wants it. */
  readonly answerTo?: { readonly queue: string; readonly correlationId: string };
}

/** Whoever sent a command wants its end no more. */
export interface ReceivedRelease {
  readonly kind: "release";
  readonly id: string;
  readonly answerTo: { readonly queue: string; readonly correlationId: string };
}

/** AMQP's `type` of a release; commands have none. */
const RELEASE = "release";

const AnswerShape = v.object({
  node: Name,
  ending: v.variant("kind", [
    v.object({ kind: v.literal("written") }),
    v.object({
      kind: v.literal("replied"),
      text: v.exactOptional(v.string()),
      /** Where it is not UTF-8. */
      base64: v.exactOptional(v.string()),
    }),
    v.object({ kind: v.literal("no-reply") }),
    v.object({ kind: v.literal("busy"), message: v.string() }),
    v.object({ kind: v.literal("refused"), message: v.string() }),
    v.object({ kind: v.literal("lost"), message: v.string() }),
    /** The node does not hold the device any more. */
    v.object({ kind: v.literal("not-here") }),
  ]),
});

export type CommandAnswer = v.InferOutput<typeof AnswerShape>;

const encoder = new TextEncoder();

/** @param waitMs how long a command may lie in its node's queue. */
export function commandMessage(
  id: string,
  command: Command,
  answerTo: { readonly queue: string; readonly correlationId: string },
  waitMs: number,
): Message {
  return {
    exchange: DEVICES_EXCHANGE.name,
    routingKey: id,
    properties: {
      contentType: "application/json",
      replyTo: answerTo.queue,
      correlationId: answerTo.correlationId,
      expirationMs: waitMs,
    },
    body: encoder.encode(JSON.stringify(command)),
  };
}

/** Says that nobody waits for a command any more: it follows the command on its way. */
export function releaseMessage(
  id: string,
  { queue, correlationId }: { readonly queue: string; readonly correlationId: string },
): Message {
  return {
    exchange: DEVICES_EXCHANGE.name,
    routingKey: id,
    properties: { type: RELEASE, replyTo: queue, correlationId },
    body: new Uint8Array(),
  };
}

/** Undefined for what is none of ours: anybody may publish on the exchange. */
export function readCommand(
  { routingKey, properties, body }: Message,
): ReceivedCommand | ReceivedRelease | undefined {
  const { replyTo, correlationId, type } = properties;
  if (type === RELEASE) {
    if (replyTo === undefined || correlationId === undefined) return undefined;
    return { kind: "release", id: routingKey, answerTo: { queue: replyTo, correlationId } };
  }
  const command = readJsonBody(CommandShape, body);
  if (command === undefined) return undefined;
  return {
    kind: "command",
    id: routingKey,
    command,
    ...(replyTo === undefined || correlationId === undefined
      ? {}
      : { answerTo: { queue: replyTo, correlationId } }),
  };
}

export function answerMessage(
  { queue, correlationId }: { readonly queue: string; readonly correlationId: string },
  answer: CommandAnswer,
): Message {
  return {
    exchange: "",
    routingKey: queue,
    properties: { contentType: "application/json", correlationId },
    body: encoder.encode(JSON.stringify(answer)),
  };
}

export function readAnswer(body: Uint8Array): CommandAnswer | undefined {
  return readJsonBody(AnswerShape, body);
}

/** A device's line as it stands in JSON. */
export function replyMembers(line: Uint8Array): { text: string } | { base64: string } {
  const text = textOfLine(line);
  return text === undefined ? { base64: Buffer.from(line).toString("base64") } : { text };
}

export function lineOfReply(
  { text, base64 }: { readonly text?: string; readonly base64?: string },
): DeviceLine {
  return base64 === undefined
    ? { kind: "text", text: text ?? "" }
    : { kind: "bytes", bytes: new Uint8Array(Buffer.from(base64, "base64")) };
}
