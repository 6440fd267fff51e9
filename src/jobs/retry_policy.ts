/** When what failed is tried again: the policy of tasks that have none, and the pauses of any. */
import type { RetryPolicy } from "../tasks/descriptor.ts";

/** What `throw new Retry()` does where the task has no policy; a consumer's failures follow it too. */
export const DEFAULT_RETRY: RetryPolicy = {
  limit: 3,
  backoff: "exponential",
  baseMs: 1_000,
  capMs: 300_000,
};

/**
 * Up to a tenth longer, so that what failed together does not come back together.
 * @param random from 0 to 1.
 */
export function jittered(pauseMs: number, random: number): number {
  return Math.round(pauseMs * (1 + random / 10));
}

/** The policy's pause after so many retries, in milliseconds. */
export function pauseBefore({ backoff, baseMs, capMs }: RetryPolicy, retries: number): number {
  // 2^30 times anything is past any cap, and the power stays finite.
  const growth = backoff === "exponential" ? 2 ** Math.min(retries, 30) : 1;
  return Math.min(baseMs * growth, capMs);
}
