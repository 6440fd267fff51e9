/**
 * Watches files by looking at them every so often, and tells of changes when they have come to rest.
 *
 * Looking, and not the system's notifications: they are lost over network shares and mounted folders,
 * name no file that is yet to come, and say "renamed" of a file that an editor saved. A look at a
 * hundred files costs half a millisecond.
 */
import { isDeepStrictEqual } from "node:util";
import { type Clock, systemClock, type Timer } from "../lifecycle/clock.ts";
import type { Snapshot } from "./watched_files.ts";

export interface FileChange {
  readonly path: string;
  readonly kind: "changed" | "added" | "removed";
}

export interface FileWatchOptions {
  readonly look: () => Snapshot;
  /** Called when nothing has changed any more for a moment. The next look waits for its end. */
  readonly onChange: (changes: readonly FileChange[]) => void | Promise<void>;
  readonly clock?: Clock;
}

const LOOK_EVERY_MS = 120;
/** Editors write twice, or write beside and rename: nobody wants to load half of it. */
const REST_MS = 60;
/** Looking takes no more of the time than this part. */
const MOST_OF_THE_TIME = 1 / 20;

export class FileWatch {
  readonly #options: FileWatchOptions;
  readonly #clock: Clock;
  /** What was last applied. */
  #applied: Snapshot;
  #timer: Timer | undefined;
  #isStopped = false;

  /** Watches from now on: what is there now counts as applied. */
  constructor(options: FileWatchOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#applied = options.look();
    this.#later(LOOK_EVERY_MS, () => this.#look());
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #look(): void {
    const startedAt = this.#clock.monotonic();
    const now = this.#options.look();
    if (!isDeepStrictEqual(now, this.#applied)) {
      return this.#later(REST_MS, () => void this.#applyAtRest(now));
    }
    const tookMs = this.#clock.monotonic() - startedAt;
    this.#later(Math.max(LOOK_EVERY_MS, tookMs / MOST_OF_THE_TIME), () => this.#look());
  }

  async #applyAtRest(before: Snapshot): Promise<void> {
    const now = this.#options.look();
    if (!isDeepStrictEqual(now, before)) {
      return this.#later(REST_MS, () => void this.#applyAtRest(now));
    }
    const changes = changesBetween(this.#applied, now);
    this.#applied = now;
    if (changes.length > 0) await this.#options.onChange(changes);
    // At once: what has changed meanwhile has waited long enough.
    if (!this.#isStopped) this.#look();
  }

  #later(delayMs: number, then: () => void): void {
    if (!this.#isStopped) this.#timer = this.#clock.after(delayMs, then);
  }
}

const KINDS = ["changed", "added", "removed"] as const;

/**
 * What has changed comes first: what another file no longer imports, or imports now, counts as removed
 * or added too. A file that neither is there nor was is of no interest.
 */
export function changesBetween(before: Snapshot, now: Snapshot): readonly FileChange[] {
  const changes = [...new Set([...before.keys(), ...now.keys()])].flatMap((path): FileChange[] => {
    const [old, looks] = [before.get(path), now.get(path)];
    if (old === looks) return [];
    if (looks === undefined) return [{ path, kind: "removed" }];
    return [{ path, kind: old === undefined ? "added" : "changed" }];
  });
  return changes.sort((a, b) =>
    KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || (a.path < b.path ? -1 : 1)
  );
}
