/**
 * How a consumer's prefetch is changed while it consumes. RabbitMQ reads a subscription's limit as it
 * begins and counts by subscription, so what the consumer may hold is split into grants: one for each
 * of its subscriptions on the same channel. What is left from subscriptions that have ended ("carried")
 * counts against it too, so that the sum is never passed and, in the end, always reached.
 */

export interface Holding {
  /** What may be unsettled at once. */
  readonly prefetch: number;
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
/** More would win a larger share of the messages than other workers' consumers. */
const MAX_GRANTS = 3;

/** The next step towards one subscription with the whole prefetch. */
export function planPrefetch({ prefetch, grants, carried, unsettled }: Holding): PrefetchStep {
  const granted = grants.reduce((sum, size) => sum + size, 0);
  // Nothing is held, so it costs nothing to begin anew with one.
  if (grants.length > 1 && unsettled === 0) return RESTART;
  const free = prefetch - granted - carried;
  if (free < 0) return grants.length > 0 ? RESTART : KEEP;
  if (free === 0) return KEEP;
  if (grants.length === 0) return { kind: "grant", size: free };
  // What is carried frees its place bit by bit: wait for the rest of it, unless much is free.
  if (carried > 0) {
    return grants.length === 1 && free > prefetch / 2 ? { kind: "grant", size: free } : KEEP;
  }
  return grants.length < MAX_GRANTS ? { kind: "grant", size: free } : RESTART;
}
