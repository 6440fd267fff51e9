/** Fresh identifiers from the runtime. */

/** A UUIDv7 (RFC 9562): unique, and sorted by the millisecond that it was made in. */
export function newId(): string {
  return Bun.randomUUIDv7();
}

const UUID_V7 = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;

/** The epoch milliseconds that a UUIDv7 was made in; undefined for any other text. */
export function createdAtOf(id: string): number | undefined {
  const match = UUID_V7.exec(id);
  return match ? parseInt(`${match[1]}${match[2]}`, 16) : undefined;
}
