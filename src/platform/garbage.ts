/** Asking the runtime for a collection where it cannot know that one is worth it. */

/**
 * Collects soon, beside the running code where the runtime can. For what holds much memory outside the
 * JavaScript heap behind little within it, as ended Web Workers do.
 */
export function collectSoon(): void {
  Bun.gc(false);
}

/**
 * Collects now, and gives memory that the allocator keeps for ended threads back to the system. Stops
 * this thread for it: 5 to 10 ms on a heap of 10 MiB.
 */
export function collectFully(): void {
  Bun.gc(true);
}
