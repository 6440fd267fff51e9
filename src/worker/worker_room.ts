/** How many attempts a worker may run at once, which Celery's `pool_grow` and `pool_shrink` change. */
import { getLogger } from "@logtape/logtape";

const log = getLogger(["coxswain", "worker"]);

/** As many isolates as a start allows. */
const MAX_ISOLATES = 1_024;

export class WorkerRoom {
  readonly #slotsEach: number;
  readonly #apply: (isolates: number, slots: number) => void;
  #isolates: number;

  /** @param apply tells all parts of the worker the new numbers. */
  constructor(
    { isolates, slots }: { readonly isolates: number; readonly slots: number },
    apply: (isolates: number, slots: number) => void,
  ) {
    this.#isolates = isolates;
    this.#slotsEach = slots / isolates;
    this.#apply = apply;
  }

  /** Attempts that may run at once. */
  get slots(): number {
    return this.#isolates * this.#slotsEach;
  }

  /** @param by isolates more, or fewer. @returns why it cannot be, or undefined. */
  resize(by: number): string | undefined {
    const isolates = this.#isolates + by;
    if (isolates < 1 || isolates > MAX_ISOLATES) {
      return `a worker has 1 to ${MAX_ISOLATES} isolates: ${this.#isolates} now, ` +
        `${isolates} would be ${isolates < 1 ? "too few" : "too many"}`;
    }
    this.#isolates = isolates;
    this.#apply(isolates, this.slots);
    log.info("{isolates} isolates run tasks, as remote control says", { isolates });
    return undefined;
  }
}
