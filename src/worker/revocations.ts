/** Ids that must not start here, remembered for a while and within a bound. */

/** Twice as many as Celery's workers remember: a recorder may tell 100,000 at the start. */
const MAX_REVOKED = 120_000;

/** Written by who hears of them. The oldest go first. */
export class Revocations {
  /** By id: the monotonic instant at which it was told. */
  readonly #ids = new Map<string, number>();
  readonly #monotonic: () => number;

  constructor(monotonic: () => number = () => performance.now()) {
    this.#monotonic = monotonic;
  }

  add(id: string): void {
    this.#ids.delete(id);
    this.#ids.set(id, this.#monotonic());
    if (this.#ids.size <= MAX_REVOKED) return;
    for (const oldest of this.#ids.keys()) {
      this.#ids.delete(oldest);
      break;
    }
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  /** The latest last. */
  list(): readonly { readonly id: string; readonly ageMs: number }[] {
    const now = this.#monotonic();
    return [...this.#ids].map(([id, toldAt]) => ({ id, ageMs: now - toldAt }));
  }
}
