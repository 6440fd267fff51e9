/** Figures for benchmarks: percentiles of durations, medians of rounds, a table of both. */

/** What one measured round came to. */
export interface Round {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failures: number;
}

/** @param share 0 to 1. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

export function median(values: readonly number[]): number {
  return percentile(values.toSorted((a, b) => a - b), 0.5);
}

/**
 * Keeps `concurrency` operations in flight until the time is over.
 * @param operate resolves to false where the operation failed.
 */
export async function measure(
  operate: () => Promise<boolean>,
  { concurrency, seconds }: { concurrency: number; seconds: number },
): Promise<Round> {
  const durations: number[] = [];
  let failures = 0;
  const start = performance.now();
  const end = start + seconds * 1_000;
  await Promise.all(Array.from({ length: concurrency }, async () => {
    let before = performance.now();
    while (before < end) {
      if (!(await operate())) failures++;
      const after = performance.now();
      durations.push(after - before);
      before = after;
    }
  }));
  const elapsedMs = performance.now() - start;
  durations.sort((a, b) => a - b);
  return {
    perSecond: durations.length / elapsedMs * 1_000,
    p50Ms: percentile(durations, 0.5),
    p99Ms: percentile(durations, 0.99),
    failures,
  };
}

/** The median of each figure over the rounds. */
export function medianRound(rounds: readonly Round[]): Round {
  return {
    perSecond: median(rounds.map(({ perSecond }) => perSecond)),
    p50Ms: median(rounds.map(({ p50Ms }) => p50Ms)),
    p99Ms: median(rounds.map(({ p99Ms }) => p99Ms)),
    failures: rounds.reduce((sum, { failures }) => sum + failures, 0),
  };
}

/** One line of the report; `base` is the round that it is compared to. */
export function line(name: string, round: Round, base?: Round): string {
  const ratio = base === undefined ? "" : ` ${(round.perSecond / base.perSecond).toFixed(2)} ×`;
  return [
    name.padEnd(44),
    `${Math.round(round.perSecond)}/s`.padStart(10),
    `p50 ${round.p50Ms.toFixed(2)} ms`.padStart(14),
    `p99 ${round.p99Ms.toFixed(2)} ms`.padStart(15),
    ratio,
    round.failures > 0 ? ` ${round.failures} FAILED` : "",
  ].join("");
}
