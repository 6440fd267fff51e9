/**
 * Who holds a process's memory: an estimate of each isolate's share from what they reported, for those
 * that do not answer from what the system saw them take, and of the main thread's. Pure.
 */

/** What an isolate tells of itself. */
export interface MemoryReport {
  /** What its JavaScript holds, in bytes: see `heapBytes`. */
  readonly heapBytes: number;
  /** The system's number of its thread, where the system tells. */
  readonly thread?: number;
}

/** One isolate, as the estimate sees it. */
export interface HolderFacts<Holder> {
  readonly holder: Holder;
  /** What it last reported; 0 where it never did. */
  readonly reportedBytes: number;
  /** It was asked now and has not answered: its code does not come back to its event loop. */
  readonly isSilent: boolean;
  /** New pages that the system gave its thread since memory was plenty; 0 where nobody knows. */
  readonly faults: number;
}

export interface MemoryFacts<Holder> {
  /** What the process holds. */
  readonly usedBytes: number;
  /** What it held before it had isolates. */
  readonly restBytes: number;
  /** What the main thread's JavaScript holds more than at rest. */
  readonly mainBytes: number;
  /** As an isolate's. */
  readonly mainFaults: number;
  readonly holders: readonly HolderFacts<Holder>[];
}

export type Largest<Holder> =
  | { readonly kind: "isolate"; readonly holder: Holder; readonly heldBytes: number }
  | { readonly kind: "main"; readonly heldBytes: number }
  /** No isolate holds enough for its end to be of use. */
  | { readonly kind: "nobody" };

/**
 * Finds who holds most. What nobody reports (memory of native code, what was freed and not given back,
 * all that an isolate took since it last answered) is laid at the door of those that do not answer,
 * by the pages that their threads took; where all answer, of all threads.
 * @param leastBytes holders of less are not worth it.
 */
export function largestHolder<Holder>(
  { usedBytes, restBytes, mainBytes, mainFaults, holders }: MemoryFacts<Holder>,
  leastBytes: number,
): Largest<Holder> {
  const reported = sum(holders, ({ reportedBytes }) => reportedBytes);
  const unreported = Math.max(0, usedBytes - restBytes - mainBytes - reported);
  const silent = holders.filter(({ isSilent }) => isSilent);
  const suspects = silent.length > 0 ? silent : holders;
  const otherFaults = silent.length > 0 ? 0 : mainFaults;
  const faults = sum(suspects, (one) => one.faults) + otherFaults;
  const shareOf = (one: HolderFacts<Holder>) => {
    if (!suspects.includes(one)) return 0;
    if (faults > 0) return one.faults / faults;
    return silent.length > 0 || holders.length === 1 ? 1 / suspects.length : 0;
  };
  const mainHeld = mainBytes + (faults > 0 ? unreported * otherFaults / faults : 0);
  let largest: HolderFacts<Holder> | undefined;
  let heldBytes = leastBytes;
  let unexplained = unreported - (mainHeld - mainBytes);
  for (const one of holders) {
    const guessed = unreported * shareOf(one);
    unexplained -= guessed;
    if (one.reportedBytes + guessed < heldBytes) continue;
    largest = one;
    heldBytes = one.reportedBytes + guessed;
  }
  if (mainHeld >= heldBytes) return { kind: "main", heldBytes: Math.round(mainHeld) };
  return largest === undefined || unexplained > heldBytes
    ? { kind: "nobody" }
    : { kind: "isolate", holder: largest.holder, heldBytes: Math.round(heldBytes) };
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
