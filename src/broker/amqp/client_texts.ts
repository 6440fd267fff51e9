/**
 * How the client reads and writes texts, made cheap. The client makes a Buffer for each text of each
 * message, some 30 of them for a call, which is most of what reading a message costs. Here one Buffer
 * stands for the memory that a socket reads into, and the names that come again and again are found by
 * their bytes without making a text.
 */
import { Buffer } from "node:buffer";
import { AMQPView } from "@cloudamqp/amqp-client/amqp-view";

/** AMQP 0-9-1, 4.2.5.3: a short string has one byte for its length. */
const MAX_SHORT_BYTES = 255;
/** What is longer is an id rather than a name. */
const MAX_NAME_BYTES = 24;
/** A power of two. Each name has one place; another name of the same place takes it over. */
const NAME_PLACES = 512;

const names: ({ readonly text: string; readonly bytes: Uint8Array } | undefined)[] = new Array(
  NAME_PLACES,
);
let memory: ArrayBufferLike | undefined;
let bytes: Buffer = Buffer.alloc(0);

/** Called once in a process; see client_guard.ts. */
export function installTexts(): void {
  AMQPView.prototype.getShortString = function (at: number): [string, number] {
    const length = this.getUint8(at);
    return [readText(this, at + 1, length), length + 1];
  };

  AMQPView.prototype.getLongString = function (
    at: number,
    littleEndian?: boolean,
  ): [string, number] {
    const length = this.getUint32(at, littleEndian);
    return [readText(this, at + 4, length), length + 4];
  };

  AMQPView.prototype.setShortString = function (at: number, text: string): number {
    const length = Buffer.byteLength(text);
    if (length > MAX_SHORT_BYTES) {
      throw new Error(
        `Short string too long, ${length} bytes: ${text.substring(0, MAX_SHORT_BYTES)}...`,
      );
    }
    this.setUint8(at, length);
    writeText(this, at + 1, text, length);
    return length + 1;
  };

  AMQPView.prototype.setLongString = function (
    at: number,
    text: string,
    littleEndian?: boolean,
  ): number {
    const length = Buffer.byteLength(text);
    this.setUint32(at, length, littleEndian);
    writeText(this, at + 4, text, length);
    return length + 4;
  };
}

function readText(view: DataView, at: number, length: number): string {
  if (at + length > view.byteLength) {
    throw new RangeError(
      `A text of ${length} bytes at ${at} passes the end of ${view.byteLength} bytes`,
    );
  }
  if (length === 0) return "";
  const whole = bytesOf(view.buffer);
  const start = view.byteOffset + at;
  if (length > MAX_NAME_BYTES) return whole.toString("utf8", start, start + length);
  const place = placeOf(whole, start, length);
  const known = names[place];
  if (known !== undefined && isSame(known.bytes, whole, start, length)) return known.text;
  const text = whole.toString("utf8", start, start + length);
  names[place] = { text, bytes: Uint8Array.prototype.slice.call(whole, start, start + length) };
  return text;
}

function writeText(view: DataView, at: number, text: string, length: number): void {
  if (at + length > view.byteLength) {
    throw new RangeError(`${length} bytes at ${at} pass the end of ${view.byteLength} bytes`);
  }
  bytesOf(view.buffer).write(text, view.byteOffset + at, length);
}

function bytesOf(buffer: ArrayBufferLike): Buffer {
  if (buffer !== memory) {
    memory = buffer;
    bytes = Buffer.from(buffer);
  }
  return bytes;
}

function placeOf(whole: Uint8Array, start: number, length: number): number {
  const first = whole[start] ?? 0;
  const middle = whole[start + (length >> 1)] ?? 0;
  const last = whole[start + length - 1] ?? 0;
  return (length * 7 + first * 31 + middle * 131 + last * 17) & (NAME_PLACES - 1);
}

function isSame(known: Uint8Array, whole: Uint8Array, start: number, length: number): boolean {
  if (known.length !== length) return false;
  for (let i = 0; i < length; i++) if (known[i] !== whole[start + i]) return false;
  return true;
}
