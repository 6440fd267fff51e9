/** What a load came to: shares, quantiles and a histogram of durations. Pure. */

export interface Figures {
  readonly requests: number;
  readonly succeeded: number;
  /** From the first request to the last answer. */
  readonly tookMs: number;
  /** Of the requests that succeeded, in milliseconds; absent where none did. */
  readonly latencyMs?: Readonly<Record<QuantileName, number>>;
  readonly histogram: readonly Bucket[];
  /** Failures by what they were, the most frequent first. */
  readonly errors: readonly { readonly type: string; readonly count: number }[];
}

export interface Bucket {
  /** Durations up to this, and above the bucket before. */
  readonly upToMs: number;
  readonly count: number;
}

const QUANTILES = { p50: 0.5, p90: 0.9, p95: 0.95, p99: 0.99, p999: 0.999, max: 1 } as const;
export type QuantileName = keyof typeof QUANTILES;
export const QUANTILE_NAMES = ["p50", "p90", "p95", "p99", "p999", "max"] as const;

const BUCKETS = 10;

/** @param durations milliseconds of each request that succeeded, in any order. */
export function figuresOf(
  durations: readonly number[],
  failures: ReadonlyMap<string, number>,
  tookMs: number,
): Figures {
  const sorted = Float64Array.from(durations).sort();
  const failed = [...failures.values()].reduce((sum, count) => sum + count, 0);
  return {
    requests: sorted.length + failed,
    succeeded: sorted.length,
    tookMs,
    ...(sorted.length === 0 ? {} : { latencyMs: quantilesOf(sorted) }),
    histogram: histogramOf(sorted),
    errors: [...failures].map(([type, count]) => ({ type, count }))
      .toSorted((a, b) => b.count - a.count || (a.type < b.type ? -1 : 1)),
  };
}

/**
 * The smallest duration that so large a share of them does not exceed (nearest rank).
 * @param sorted not empty.
 * @param share above 0, up to 1.
 */
export function quantile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? NaN;
}

function quantilesOf(sorted: Float64Array): Readonly<Record<QuantileName, number>> {
  const of = (name: QuantileName) => quantile(sorted, QUANTILES[name]);
  return {
    p50: of("p50"),
    p90: of("p90"),
    p95: of("p95"),
    p99: of("p99"),
    p999: of("p999"),
    max: of("max"),
  };
}

/** Bounds grow by a fixed factor from the shortest to the longest: latencies spread over magnitudes. */
export function histogramOf(sorted: Float64Array): readonly Bucket[] {
  const least = sorted[0];
  const most = sorted.at(-1);
  if (least === undefined || most === undefined) return [];
  const from = Math.max(least, 0.01);
  const factor = Math.max(most / from, 1) ** (1 / BUCKETS);
  const buckets: Bucket[] = [];
  let index = 0;
  for (let bucket = 1; bucket <= BUCKETS; bucket++) {
    // The last one takes all that is left, whatever rounding makes of its bound.
    const upToMs = bucket === BUCKETS ? most : from * factor ** bucket;
    const start = index;
    while (index < sorted.length && (sorted[index] ?? 0) <= upToMs) index++;
    buckets.push({ upToMs, count: index - start });
    if (index === sorted.length) break;
  }
  return buckets;
}

/** A success share as people read it: never 100.0 unless every request succeeded. */
export function percentageOf({ succeeded, requests }: Pick<Figures, "succeeded" | "requests">) {
  if (requests === 0) return "0.0%";
  const share = succeeded / requests * 100;
  return `${(succeeded < requests ? Math.min(share, 99.9) : share).toFixed(1)}%`;
}
