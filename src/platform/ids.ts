/** Fresh identifiers from the runtime. */

/** A UUIDv7 (RFC 9562): unique, and sorted by the millisecond that it was made in. */
export function newId(): string {
  return Bun.randomUUIDv7();
}
