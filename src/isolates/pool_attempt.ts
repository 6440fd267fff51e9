/** An attempt from the moment that the pool is asked to run it until its ending is told. */
import type { Deadline } from "../async/deadlines.ts";
import type { InterruptionCause } from "../tasks/errors.ts";
import type { AttemptEnd, AttemptRequest, RunOptions } from "./attempt.ts";
import type { Member } from "./member.ts";

/**
 * What an attempt waits for: a slot in an isolate of either kind, an isolate made for it alone, or such
 * a one because its first isolate was lost through no fault of its own.
 */
export type Lane = "worker" | "process" | "alone" | "again";

export type Place =
  | { readonly kind: "waiting"; readonly lane: Lane }
  /** An isolate is being made for it alone. */
  | { readonly kind: "opening" }
  | { readonly kind: "running"; readonly member: Member<PoolAttempt>; readonly run: number }
  /** Its ending has been told. */
  | { readonly kind: "over" };

/** Written by the pool alone. */
export interface PoolAttempt {
  readonly request: AttemptRequest;
  readonly options: RunOptions;
  /** Grows with each attempt: who came first. */
  readonly order: number;
  readonly settle: (end: AttemptEnd) => void;
  place: Place;
  /** Whether the task's code has begun, in this isolate or an earlier one. */
  hasStarted: boolean;
  /** Told to the task's signal; in a second isolate it is told again. */
  interruption: InterruptionCause | undefined;
  /** It runs for the second time, alone. */
  runsAgain: boolean;
  /** Hard limit: it ends. */
  hard: Deadline | undefined;
  /** Soft limit: its signal aborts. */
  soft: Deadline | undefined;
  /** After a cancel: it is killed. */
  grace: Deadline | undefined;
  /** Ends the watch on the signal that cancels it. */
  unwatch: (() => void) | undefined;
}

/** It was asked to end: what it still throws is only that. */
export function isCancelled({ interruption }: PoolAttempt): boolean {
  return interruption === "cancelled" || interruption === "stopping";
}

/** Attempts that wait, in the order in which they came, each in its lane. */
export class WaitingAttempts {
  readonly #lanes: Readonly<Record<Lane, Set<PoolAttempt>>> = {
    again: new Set(),
    alone: new Set(),
    worker: new Set(),
    process: new Set(),
  };
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Those that wait for a slot; who runs again has kept its own. */
  get withoutSlot(): number {
    return this.#size - this.#lanes.again.size;
  }

  sizeOf(lane: Lane): number {
    return this.#lanes[lane].size;
  }

  add(attempt: PoolAttempt, lane: Lane): void {
    attempt.place = { kind: "waiting", lane };
    this.#lanes[lane].add(attempt);
    this.#size += 1;
  }

  /** Takes one out, wherever it is; one that does not wait is fine. */
  delete(attempt: PoolAttempt): void {
    if (attempt.place.kind !== "waiting") return;
    if (this.#lanes[attempt.place.lane].delete(attempt)) this.#size -= 1;
  }

  /** The one that came first among the lanes that may go on. One lane never blocks another. */
  first(mayGo: (lane: Lane) => boolean): PoolAttempt | undefined {
    let best: PoolAttempt | undefined;
    for (const lane of ["again", "alone", "worker", "process"] as const) {
      const [first] = this.#lanes[lane];
      if (first && (best === undefined || first.order < best.order) && mayGo(lane)) best = first;
    }
    return best;
  }

  all(): readonly PoolAttempt[] {
    return Object.values(this.#lanes).flatMap((lane) => [...lane]);
  }
}
