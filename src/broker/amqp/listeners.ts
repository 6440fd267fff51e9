/** Those who want to be told. One that throws harms neither the others nor the teller. */
import { getLogger } from "@logtape/logtape";

const log = getLogger(["coxswain", "broker"]);

export class Listeners<T> {
  readonly #listeners = new Set<{ readonly call: (value: T) => void }>();

  /** @returns what ends it. The same function may be added twice. */
  add(listener: (value: T) => void): () => void {
    const entry = { call: listener };
    this.#listeners.add(entry);
    return () => this.#listeners.delete(entry);
  }

  tell(value: T): void {
    for (const { call } of [...this.#listeners]) {
      try {
        call(value);
      } catch (error) {
        log.error("A listener of the broker threw: {error}", { error });
      }
    }
  }
}
