/**
 * Celery's logical clock (Lamport's): a count that every event and command carries, so that who reads
 * them can put them in order whatever the machines' clocks say.
 * https://docs.celeryq.dev/en/stable/internals/reference/celery.events.state.html
 */

/** Headers carry whole numbers as signed 32-bit; whoever sends a greater one is not believed. */
const MAX = 2 ** 31 - 1;

/** One for each worker. Written by who hears commands and who sends events. */
export class LogicalClock {
  #value = 0;

  get value(): number {
    return this.#value;
  }

  /** One step on. @returns the new value. */
  forward(): number {
    if (this.#value < MAX) this.#value++;
    return this.#value;
  }

  /** Somebody else's value was heard: ours comes after it. What is no such value is passed over. */
  adjust(other: unknown): void {
    const isValue = typeof other === "number" && Number.isInteger(other) && other >= 0 &&
      other < MAX;
    this.#value = isValue ? Math.max(this.#value, other) + 1 : this.#value;
  }
}
