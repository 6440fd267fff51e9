/**
 * Mends how the client reads and writes properties and field tables.
 *
 * Reading: a header of a field type that it does not know ("L", for one) makes it throw out of its
 * frame parser, and the rest of the stream is read from the wrong place. A table's length is known, so
 * such a one is skipped whole, and its message arrives marked. A property that it does not know (the
 * reserved "cluster-id") is passed over; the client took its bytes for the next frame, and whoever was
 * delivered such a message lost the connection. Writing: integers from 2^31 to 2^32 come out negative
 * and fractions lose half of their digits; here both travel exactly.
 */
import type { AMQPProperties, Field } from "@cloudamqp/amqp-client";
import { AMQPView } from "@cloudamqp/amqp-client/amqp-view";
import { installTexts } from "./client_texts.ts";

type Table = Record<string, Field>;

const INT32 = { min: -(2 ** 31), max: 2 ** 31 - 1 } as const;
const INT64 = { min: -(2n ** 63n), max: 2n ** 63n - 1n } as const;
const LONG = "l".charCodeAt(0);
const DOUBLE = "d".charCodeAt(0);

/** Why a table could not be read, by the empty table that stands in for it. */
const reasons = new WeakMap<object, string>();
let isGuarded = false;

/** Why these headers could not be read; undefined when they could. */
export function unreadableReason(headers: object): string | undefined {
  return reasons.get(headers);
}

/**
 * Wraps the client's readers and writers, once in a process. Called before the first connection
 * rather than at import, so that importing has no effect.
 */
export function guardClient(): void {
  if (isGuarded) return;
  isGuarded = true;
  installTexts();
  guardReading();
  guardWriting();
}

function guardReading(): void {
  const { getTable, getProperties, getByteArray } = AMQPView.prototype;
  /** Tables lie in tables: only the outermost one is skipped, so that its message is marked. */
  let depth = 0;

  AMQPView.prototype.getTable = function (at: number, littleEndian?: boolean): [Table, number] {
    depth++;
    try {
      return getTable.call(this, at, littleEndian);
    } catch (error) {
      const length = this.getUint32(at, littleEndian) + 4;
      if (depth > 1 || at + length >= this.byteLength) throw error;
      return [standIn(error), length];
    } finally {
      depth--;
    }
  };

  AMQPView.prototype.getProperties = function (
    at: number,
    littleEndian?: boolean,
  ): [AMQPProperties, number] {
    // The socket's parser makes one view for one frame: what is left of it but the end mark. The
    // client would read what a property that it does not know has left over as the next frame.
    const length = this.byteLength - at - 1;
    try {
      return [getProperties.call(this, at, littleEndian)[0], length];
    } catch (error) {
      return [{ headers: standIn(error) }, length];
    }
  };

  // The client hands out a window on the memory that it reads the next frames into.
  AMQPView.prototype.getByteArray = function (
    at: number,
    littleEndian?: boolean,
  ): [Uint8Array, number] {
    const [bytes, length] = getByteArray.call(this, at, littleEndian);
    return [bytes.slice(), length];
  };
}

function standIn(error: unknown): Table {
  const table: Table = {};
  reasons.set(table, error instanceof Error ? error.message : String(error));
  return table;
}

function guardWriting(): void {
  const { setField } = AMQPView.prototype;
  AMQPView.prototype.setField = function (at: number, field: Field, littleEndian?: boolean) {
    if (typeof field === "bigint" && (field < INT64.min || field > INT64.max)) {
      throw new RangeError(`${field} does not fit into 64 bits`);
    }
    if (typeof field !== "number" || isInt32(field)) {
      return setField.call(this, at, field, littleEndian);
    }
    if (Number.isSafeInteger(field)) {
      this.setUint8(at, LONG);
      this.setBigInt64(at + 1, BigInt(field), littleEndian);
    } else {
      this.setUint8(at, DOUBLE);
      this.setFloat64(at + 1, field, littleEndian);
    }
    return 9;
  };
}

function isInt32(value: number): boolean {
  return Number.isInteger(value) && value >= INT32.min && value <= INT32.max;
}
