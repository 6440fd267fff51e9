/**
 * The frames of the hot path, written straight into the outbox: publish, ack and nack (AMQP 0-9-1,
 * sections 4.2 and the class "basic"). The client's own publish takes a buffer of a whole frame's size
 * for each message, keeps it until the broker confirms and then for ever, and every frame costs a
 * chain of promises. Properties are still written by the client's view.
 */
import { AMQPView } from "@cloudamqp/amqp-client/amqp-view";
import type { Message } from "../message.ts";
import type { Outbox } from "./outbox.ts";
import { toWire } from "./properties.ts";

const METHOD = 1;
const HEADER = 2;
const BODY = 3;
const END = 0xce;
const BASIC = 60;
const PUBLISH = 40;
const ACK = 80;
const NACK = 120;
const MANDATORY = 1;
const REQUEUE = 2;
/** Type, channel and size before, the end mark after. */
const FRAME_OVERHEAD_BYTES = 8;
const FRAME_HEAD_BYTES = 7;
const SETTLE_BYTES = 21;

/** Where a message's method and header frames are laid out; sync code alone, so one is enough. */
const draft = new AMQPView(new ArrayBuffer(256 * 1024));
const draftBytes = new Uint8Array(draft.buffer);

export interface FrameTarget {
  readonly outbox: Outbox;
  readonly channelId: number;
  /** Negotiated, in bytes with the overhead. */
  readonly frameMaxBytes: number;
}

/**
 * Writes one message, or nothing at all.
 * @throws Error when AMQP cannot carry it: a name over 255 bytes, a header of an unknown type, headers
 *   that need more than a frame.
 */
export function writePublish(
  { outbox, channelId, frameMaxBytes }: FrameTarget,
  { exchange, routingKey, properties, body }: Message,
  isMandatory: boolean,
): void {
  let at = beginFrame(METHOD, channelId, 0);
  draft.setUint16(at, BASIC);
  draft.setUint16(at + 2, PUBLISH);
  draft.setUint16(at + 4, 0);
  at += 6;
  at += draft.setShortString(at, exchange);
  at += draft.setShortString(at, routingKey);
  draft.setUint8(at++, isMandatory ? MANDATORY : 0);
  at = endFrame(0, at);
  const header = at;
  at = beginFrame(HEADER, channelId, header);
  draft.setUint16(at, BASIC);
  draft.setUint16(at + 2, 0);
  draft.setUint32(at + 4, 0);
  draft.setUint32(at + 8, body.length);
  at += 12;
  at += draft.setProperties(at, toWire(properties));
  at = endFrame(header, at);
  if (at - header > frameMaxBytes) {
    throw new RangeError(
      `its properties take ${at - header} bytes of a frame of ${frameMaxBytes} bytes`,
    );
  }
  const mostBytes = frameMaxBytes - FRAME_OVERHEAD_BYTES;
  const frames = Math.ceil(body.length / mostBytes);
  const room = outbox.room(at + body.length + frames * FRAME_OVERHEAD_BYTES);
  room.set(draftBytes.subarray(0, at));
  for (let from = 0; from < body.length; from += mostBytes) {
    const part = body.length <= mostBytes ? body : body.subarray(from, from + mostBytes);
    room[at] = BODY;
    room[at + 1] = channelId >>> 8;
    room[at + 2] = channelId;
    writeUint32(room, at + 3, part.length);
    room.set(part, at + FRAME_HEAD_BYTES);
    at += FRAME_OVERHEAD_BYTES + part.length;
    room[at - 1] = END;
  }
}

/** Starts a frame in the draft and returns where its payload begins. */
function beginFrame(type: number, channelId: number, at: number): number {
  draft.setUint8(at, type);
  draft.setUint16(at + 1, channelId);
  return at + FRAME_HEAD_BYTES;
}

/** Fills in the frame's size and its end mark; returns where the next frame begins. */
function endFrame(start: number, end: number): number {
  draft.setUint32(start + 3, end - start - FRAME_HEAD_BYTES);
  draft.setUint8(end, END);
  return end + 1;
}

export function writeAck(outbox: Outbox, channelId: number, deliveryTag: number): void {
  writeSettle(outbox, channelId, ACK, deliveryTag, 0);
}

export function writeNack(
  outbox: Outbox,
  channelId: number,
  deliveryTag: number,
  requeue: boolean,
): void {
  writeSettle(outbox, channelId, NACK, deliveryTag, requeue ? REQUEUE : 0);
}

function writeSettle(
  outbox: Outbox,
  channelId: number,
  method: number,
  deliveryTag: number,
  flags: number,
): void {
  const room = outbox.room(SETTLE_BYTES);
  room[0] = METHOD;
  room[1] = channelId >>> 8;
  room[2] = channelId;
  writeUint32(room, 3, SETTLE_BYTES - FRAME_OVERHEAD_BYTES);
  room[8] = BASIC;
  room[10] = method;
  writeUint32(room, 11, Math.floor(deliveryTag / 2 ** 32));
  writeUint32(room, 15, deliveryTag >>> 0);
  room[19] = flags;
  room[20] = END;
}

function writeUint32(room: Uint8Array, at: number, value: number): void {
  room[at] = value >>> 24;
  room[at + 1] = value >>> 16;
  room[at + 2] = value >>> 8;
  room[at + 3] = value;
}
