/**
 * How a consumer's prefetch is changed while it consumes. RabbitMQ reads a subscription's limit as it
 * begins and counts by subscription, so what the consumer may hold is split into grants: one for each
 * of its subscriptions on the same channel. What is left from subscriptions that have ended ("carried")
 * counts against it too, so that the sum is never passed and, in the end, always reached.
 */

export interface Holding {
  /** What may be unsettled at once. */
  readonly prefetch: number;
  /** It was raised since the last subscription began. */
  readonly isRaised: boolean;
  /** What each present subscription may hold. */
  readonly grants: readonly number[];
  /** What is unsettled from subscriptions that have ended. */
  readonly carried: number;
  /** What is unsettled in all. */
  readonly unsettled: number;
}

export type PrefetchStep =
  /** Nothing to do until something is settled or asked for. */
  | { readonly kind: "keep" }
  /** One subscription more. */
  | { readonly kind: "grant"; readonly size: number }
  /** End all subscriptions; what is unsettled becomes carried. */
  | { readonly kind: "restart" };

const KEEP: PrefetchStep = { kind: "keep" };
const RESTART: PrefetchStep = { kind: "restart" };
/**
 * A worker whose long tasks end one by one is granted their places one by one. From so many
 * subscriptions on it waits for the rest of them to end, and grants what is left at once.
 */
const MANY_GRANTS = 16;

/** The next step: what is free is granted, and many subscriptions are made one when that costs little. */
export function planPrefetch(
  { prefetch, isRaised, grants, carried, unsettled }: Holding,
): PrefetchStep {
  const count = grants.length;
  const free = prefetch - carried - grants.reduce((sum, size) => sum + size, 0);
  if (unsettled <= restartsAt(count)) return RESTART;
  if (free < 0) return count > 0 ? RESTART : KEEP;
  if (free === 0) return KEEP;
  if (count < MANY_GRANTS || (carried === 0 && count === MANY_GRANTS)) {
    return { kind: "grant", size: free };
  }
  return isRaised ? RESTART : KEEP;
}

/**
 * How many may be unsettled for a kept plan to be worth a second look, when nothing else was asked for.
 * What is carried gives a place back with each settlement; other settlements matter when many
 * subscriptions can be made one.
 */
export function nextStepAt({ grants, carried }: Pick<Holding, "grants" | "carried">): number {
  return carried > 0 ? Infinity : restartsAt(grants.length);
}

/**
 * How many may be unsettled for so many subscriptions to be made one. Each delivery that is carried over
 * may cost one subscription again: at least half of them are to be gained.
 */
function restartsAt(subscriptions: number): number {
  return subscriptions > 1 ? (subscriptions - 2) / 2 : -1;
}
