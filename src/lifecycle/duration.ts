/**
 * Durations as people write them ("500ms", "3s", "2m", "1h", "7d") and as the program computes with them
 * (milliseconds). Not for instants, which are ISO 8601.
 */

const UNIT_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
/** Longest first: the first unit that divides a duration is the one it is written in. */
const UNITS = Object.entries(UNIT_MS).toReversed();

/** What a timer of the runtime can wait for, about 24.8 days. */
export const MAX_DURATION_MS = 2 ** 31 - 1;

const PATTERN = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/**
 * Milliseconds of a duration such as "500ms", "3s", "1.5m", "1h" or "7d". "0" needs its unit too.
 * @param maxMs the longest that is wanted. Default: what a timer can wait for, about 24.8 days.
 * @returns whole milliseconds, rounded up.
 * @throws RangeError when the text is no such duration, or a longer one.
 */
export function parseDuration(text: string, maxMs = MAX_DURATION_MS): number {
  const match = PATTERN.exec(text.trim());
  const unitMs = UNIT_MS[match?.[2] ?? ""];
  if (!match?.[1] || unitMs === undefined) {
    throw new RangeError(
      `Cannot read duration "${text.slice(0, 40)}": a number with its unit is needed, ` +
        `such as "500ms", "3s", "2m", "1h" or "7d"`,
    );
  }
  const durationMs = Math.ceil(Number(match[1]) * unitMs);
  if (durationMs > maxMs) {
    throw new RangeError(
      `Cannot use duration "${text.slice(0, 40)}": at most ${formatDuration(maxMs)}`,
    );
  }
  return durationMs;
}

/**
 * Writes milliseconds in the largest unit that divides them: 90000 is "90s", 120000 is "2m". Reading
 * the text gives the same number again; fractions of a millisecond are rounded up.
 * @throws RangeError when it is negative or not finite.
 */
export function formatDuration(durationMs: number): string {
  if (!Number.isFinite(durationMs) || durationMs < 0) {
    throw new RangeError(`Cannot write duration ${durationMs}: milliseconds from 0 are needed`);
  }
  const wholeMs = Math.ceil(durationMs);
  if (wholeMs === 0) return "0ms";
  const [unit, unitMs] = UNITS.find(([, ms]) => wholeMs % ms === 0) ?? ["ms", 1];
  return `${wholeMs / unitMs}${unit}`;
}
