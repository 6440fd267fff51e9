/** What processes hold over time, and whether it is at the end what it was after the warm-up. */

export interface Sample {
  readonly atMs: number;
  readonly node: string;
  readonly pid: number;
  readonly rssBytes: number;
  readonly handles: number;
  readonly threads: number;
}

export type Figure = "rssBytes" | "handles" | "threads";

export interface Growth {
  readonly node: string;
  readonly figure: Figure;
  readonly warm: number;
  readonly end: number;
  readonly isLevel: boolean;
}

export const FIGURES: readonly Figure[] = ["rssBytes", "handles", "threads"];
/** Within a tenth; what is less than this is the noise of small numbers. */
const SHARE = 0.1;
const NOISE: Readonly<Record<Figure, number>> = {
  rssBytes: 8 * 2 ** 20,
  handles: 4,
  threads: 3,
};

/**
 * Where in the sorted samples a figure is read: memory low, since what the collector has yet to collect
 * is no growth; a leak lifts its floor too.
 */
const QUANTILES: Readonly<Record<Figure, number>> = { rssBytes: 0.25, handles: 0.5, threads: 0.5 };

/**
 * Compares the time right after the warm-up with the end, each a sixth of the rest.
 * Only processes that lived all the while are compared. Less at the end is fine.
 */
export function growth(samples: readonly Sample[], warmMs: number): readonly Growth[] {
  const endMs = Math.max(...samples.map(({ atMs }) => atMs));
  const windowMs = (endMs - warmMs) / 6;
  return [...Map.groupBy(samples, ({ node, pid }) => `${node} ${pid}`).values()].flatMap((own) => {
    const first = own.filter(({ atMs }) => atMs >= warmMs && atMs <= warmMs + windowMs);
    const last = own.filter(({ atMs }) => atMs >= endMs - windowMs);
    const lived = own.some(({ atMs }) => atMs <= warmMs) && first.length > 0 && last.length > 0;
    if (!lived) return [];
    return FIGURES.map((figure) => {
      const warm = quantile(first.map((sample) => sample[figure]), QUANTILES[figure]);
      const end = quantile(last.map((sample) => sample[figure]), QUANTILES[figure]);
      const isLevel = end <= warm + Math.max(warm * SHARE, NOISE[figure]);
      return { node: own[0]?.node ?? "", figure, warm, end, isLevel };
    });
  });
}

function quantile(numbers: readonly number[], share: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length * share)] ?? 0;
}

/** A figure for a reader. */
export function shown(figure: Figure, value: number): string {
  return figure === "rssBytes" ? `${Math.round(value / 2 ** 20)} MiB` : String(value);
}
