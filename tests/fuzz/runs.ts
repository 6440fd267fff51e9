/**
 * How often each property is tried, and from which seed. CI tries few from a fixed seed, so that what
 * failed fails again; `deno task fuzz` tries many from one of its own, and prints it.
 *
 * FUZZ_RUNS: how many times as often; FUZZ_SEED: where to begin.
 */
import fc from "fast-check";

const FACTOR = positive(process.env["FUZZ_RUNS"]) ?? 1;
const SEED = positive(process.env["FUZZ_SEED"]) ?? 20_261_121;

function positive(text: string | undefined): number | undefined {
  const value = Number(text);
  return Number.isInteger(value) && value > 0 ? value : undefined;
}

/** @param runs how often in CI. */
export function settings(runs: number): { readonly numRuns: number; readonly seed: number } {
  return { numRuns: runs * FACTOR, seed: SEED };
}

/** Long enough for many times the runs that CI has. */
export const LIMIT_MS = 30_000 + 20_000 * FACTOR;

/** A property of one value. */
export function holds<T>(
  values: fc.Arbitrary<T>,
  check: (value: T) => void,
  runs: number,
  examples: readonly T[] = [],
): void {
  fc.assert(fc.property(values, (value) => check(value)), {
    ...settings(runs),
    examples: examples.map((example): [T] => [example]),
  });
}

/** The same, where it takes its time. */
export async function holdsLater<T>(
  values: fc.Arbitrary<T>,
  check: (value: T) => Promise<void>,
  runs: number,
  examples: readonly T[] = [],
): Promise<void> {
  await fc.assert(fc.asyncProperty(values, (value) => check(value)), {
    ...settings(runs),
    examples: examples.map((example): [T] => [example]),
  });
}
