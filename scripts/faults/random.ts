/** A small generator (Lehmer's), so that a seed names a run. */

const MODULUS = 2_147_483_647;
const FACTOR = 48_271;

export class Random {
  #state: number;

  constructor(seed: number) {
    // Neighbouring seeds begin alike: a few steps part them.
    this.#state = Math.abs(Math.trunc(seed)) % (MODULUS - 1) + 1;
    for (let step = 0; step < 8; step++) this.next();
  }

  /** From 0 to 1, 1 excluded. */
  next(): number {
    this.#state = this.#state * FACTOR % MODULUS;
    return this.#state / MODULUS;
  }

  /** From `least` to `most`. */
  between(least: number, most: number): number {
    return least + this.next() * (most - least);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.next() * items.length)];
    if (item === undefined) throw new RangeError("Cannot pick from an empty list");
    return item;
  }
}
