/**
 * What a subscriber gets: messages, and word of what it missed. Each is JSON text from the moment that
 * it is heard, so that it is written once for all subscribers, and numbers stay as they were written.
 */
import type { Message } from "../broker/message.ts";
import { type Stamp, stampOf } from "./message_id.ts";

interface EventBase {
  /** Place in this front's order. */
  readonly seq: number;
  /** Where a subscriber is that has seen this: see position.ts. */
  readonly position: string;
  /** The whole event as it is told, on one line. */
  readonly json: string;
}

export interface ChannelMessage extends EventBase {
  readonly kind: "message";
  /** Made by the publisher where it is ours; the same on every front. */
  readonly id: string;
  readonly channel: string;
  /** Where it was published by this program. */
  readonly stamp?: Stamp;
  /** When it was published, in epoch milliseconds. */
  readonly at: number;
  /** When it came here, on the clock that only grows, in milliseconds. */
  readonly heardAt: number;
  /** What keeping it costs. */
  readonly bytes: number;
}

/** Messages may have been missed between what came before and what comes next. */
export interface ChannelGap extends EventBase {
  readonly kind: "gap";
  readonly reason: GapReason;
  /** How many, where that is known. */
  readonly missed?: number;
  readonly at: number;
}

export type GapReason =
  /** The subscriber was too slow: what waited for it was forgotten. */
  | "too_slow"
  /** This front had no connection to the broker. */
  | "broker_away"
  /** What it asked for has been forgotten, or was never known here. */
  | "not_kept";

export type ChannelEvent = ChannelMessage | ChannelGap;

/** What a message says of itself. */
export interface HeardMessage {
  readonly id: string;
  readonly channel: string;
  readonly stamp?: Stamp;
  readonly at: number;
  /** The members of its JSON, without the braces. */
  readonly members: string;
  readonly bytes: number;
}

/** Messages that this program publishes are told by their application id. */
export const APP_ID = "coxswain";
/** What a kept message costs besides its text: the objects around it. */
const OVERHEAD_BYTES = 512;
const OCTETS = "application/octet-stream";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads a message of the exchange `cox.pubsub`, whoever published it. Its JSON is `{id, channel,
 * message, at}`: JSON as it is, a text as a text with its `contentType`, and other bytes as `{base64}`;
 * with `after`, its position, where that is not the id.
 * @param newId makes an id where the message has none.
 */
export function readMessage(
  { routingKey, properties, body }: Message,
  now: number,
  newId: () => string,
): HeardMessage {
  const { messageId, appId, contentType = OCTETS, timestamp } = properties;
  const id = messageId === undefined ? newId() : oneLine(messageId);
  const stamp = stampOf(id);
  const at = stamp?.at ?? timestamp?.getTime() ?? now;
  const { value, isJson } = valueOf(contentType, body);
  const members = `"id":${JSON.stringify(id)},"channel":${JSON.stringify(routingKey)},` +
    `"message":${value}${isJson ? "" : `,"contentType":${JSON.stringify(contentType)}`},` +
    `"at":"${instantOf(at)}"`;
  return {
    id,
    channel: routingKey,
    ...(stamp === undefined || appId !== APP_ID ? {} : { stamp }),
    at,
    members,
    bytes: Math.max(members.length, body.length) + OVERHEAD_BYTES,
  };
}

/** The JSON of a message at its position. */
export function messageJson({ id, members }: HeardMessage, position: string): string {
  return position === id ? `{${members}}` : `{${members},"after":${JSON.stringify(position)}}`;
}

/** A gap as it is told: `{id, gap, missed?, at}`; `id` is where to go on. */
export function gapEvent(
  seq: number,
  position: string,
  reason: GapReason,
  now: number,
  missed?: number,
): ChannelGap {
  const counted = missed === undefined ? {} : { missed };
  return {
    kind: "gap",
    seq,
    position,
    reason,
    ...counted,
    at: now,
    json: JSON.stringify({ id: position, gap: reason, ...counted, at: instantOf(now) }),
  };
}

function valueOf(contentType: string, body: Uint8Array): { value: string; isJson: boolean } {
  let text: string;
  try {
    text = decoder.decode(body);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const base64 = Buffer.from(body).toString("base64");
    return { value: JSON.stringify({ base64 }), isJson: false };
  }
  const isJson = /^application\/(?:[\w.+-]+\+)?json\b/i.test(contentType) && isJsonText(text);
  return { value: isJson ? oneLine(text) : JSON.stringify(text), isJson };
}

function isJsonText(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    // Somebody else's publisher called it JSON; or it is nested too deeply to be looked at.
    if (error instanceof SyntaxError || error instanceof RangeError) return false;
    throw error;
  }
}

/** Frames end at line ends. JSON has them between its tokens alone; ids of strangers may have any. */
function oneLine(text: string): string {
  return /[\r\n\0]/.test(text) ? text.replace(/[\r\n\0]/g, " ") : text;
}

/** A stranger's clock may say anything. */
function instantOf(at: number): string {
  return new Date(Math.abs(at) <= MAX_INSTANT ? at : 0).toISOString();
}

/** ECMA-262, section 21.4.1.1. */
const MAX_INSTANT = 8.64e15;
