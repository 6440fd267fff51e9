/** Ids that must not start here, remembered for a while and within a bound. */

/** Twice as many as Celery's workers remember: a recorder may tell 100,000 at the start. */
const MAX_REVOKED = 120_000;

/** Written by the control listener. The oldest go first. */
export class Revocations {
  readonly #ids = new Set<string>();

  add(id: string): void {
    this.#ids.delete(id);
    this.#ids.add(id);
    if (this.#ids.size <= MAX_REVOKED) return;
    for (const oldest of this.#ids) {
      this.#ids.delete(oldest);
      break;
    }
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }
}
