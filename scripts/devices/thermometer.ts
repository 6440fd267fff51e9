/**
 * A thermometer as samples/thermometer.ts knows it. It reports what it measures, and what it reads of a
 * reference that is 0 degrees, which is how anybody sees that it drifts:
 *
 *     celsius 21.48 reference 0.12
 *
 * Told to `recalibrate`, it does and says `recalibrated`.
 */

export interface ThermometerOptions {
  /** By how much it goes wrong from one report to the next, in degrees. */
  readonly drift: number;
  /** What the air around it has. */
  readonly celsius?: number;
}

export class Thermometer {
  readonly #drift: number;
  readonly #celsius: number;
  #offset = 0;
  recalibrations = 0;

  constructor({ drift, celsius = 21 }: ThermometerOptions) {
    this.#drift = drift;
    this.#celsius = celsius;
  }

  /** How wrong it is, in degrees. */
  get offset(): number {
    return this.#offset;
  }

  report(): string {
    this.#offset += this.#drift;
    const shown = (this.#celsius + this.#offset).toFixed(2);
    return `celsius ${shown} reference ${this.#offset.toFixed(2)}`;
  }

  /** Its answer to a line; none to what it does not understand. */
  obey(line: string): string | undefined {
    if (line !== "recalibrate") return undefined;
    this.#offset = 0;
    this.recalibrations += 1;
    return "recalibrated";
  }
}
