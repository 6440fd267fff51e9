/**
 * Ids of channel messages: UUIDv7s (RFC 9562) that also tell who made them and in which order, so that
 * a front knows which messages of another's order a subscriber has seen.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "../lifecycle/clock.ts";

/** What an id tells. */
export interface Stamp {
  /** Who made it: one connection of one process. */
  readonly maker: string;
  /** Sorts, as text, after all that its maker made before. */
  readonly order: string;
  /** Epoch milliseconds, by the maker's clock. */
  readonly at: number;
}

/** What an id is made for: a message that is published, or a place in one front's order. */
export type IdUse = "message" | "place";

/** Makes ids, each greater than the one before, whatever the clock does. */
export class MessageIds {
  readonly #clock: Pick<Clock, "now">;
  readonly #maker: string;
  #lastMs = 0;
  #counter = 0;

  constructor(clock: Pick<Clock, "now">, use: IdUse) {
    this.#clock = clock;
    const bytes = randomBytes(6);
    bytes[5] = ((bytes[5] ?? 0) & ~PLACE_BIT) | (use === "place" ? PLACE_BIT : 0);
    this.#maker = bytes.toString("hex");
  }

  next(): string {
    const now = Math.max(this.#clock.now(), this.#lastMs);
    this.#counter = now === this.#lastMs ? this.#counter + 1 : 0;
    this.#lastMs = now;
    const time = hex(now, 12);
    // 12 and 14 bits of counter where RFC 9562 has randomness; more than a millisecond can hold.
    const high = hex((this.#counter >>> 14) & 0xfff, 3);
    const low = hex(0x8000 | (this.#counter & 0x3fff), 4);
    return `${time.slice(0, 8)}-${time.slice(8)}-7${high}-${low}-${this.#maker}`;
  }
}

const PLACE_BIT = 1;
const ID = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-([0-9a-f]{12})$/;
const ORDER_LENGTH = 23;

/** Undefined for ids that are no UUIDv7. */
export function stampOf(id: string): Stamp | undefined {
  const [, high = "", low = "", maker = ""] = ID.exec(id) ?? [];
  return maker === ""
    ? undefined
    : { maker, order: id.slice(0, ORDER_LENGTH), at: parseInt(high + low, 16) };
}

/** The id that a stamp was read from. */
export function idOf({ maker, order }: Stamp): string {
  return `${order}-${maker}`;
}

/** Whether an id names a place in one front's order, and no message. */
export function isPlace({ maker }: Stamp): boolean {
  return (parseInt(maker.slice(-1), 16) & PLACE_BIT) === PLACE_BIT;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, "0");
}
