/**
 * One job by its id, as this node knows it: from the store; where the record is not there yet, from what
 * was accepted here a moment ago; and where another node may have accepted it, after a moment's wait.
 */
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import { StoreAwayError, StoreRefusedError } from "../store/errors.ts";
import type { Store } from "../store/store.ts";
import type { Job } from "./job.ts";
import { isYoung, type YoungJobs } from "./young_jobs.ts";

/** How long the record of a job that another node accepted may be on its way. */
const WAIT_MS = 1_000;
const PAUSES_MS = [10, 20, 40, 80, 150] as const;
/** How far clocks of nodes may differ. */
const SKEW_MS = 5_000;

export type LookedUp =
  | { readonly kind: "found"; readonly job: Job }
  | { readonly kind: "unknown_job"; readonly id: string }
  | StoreProblem;

/** Why records cannot be read. */
export type StoreProblem =
  | { readonly kind: "no_store"; readonly message: string }
  | { readonly kind: "store_away"; readonly message: string };

export const NO_STORE: StoreProblem = {
  kind: "no_store",
  message: "This node keeps no job records (--no-recorder): ask a front that does",
};

/** Undefined for what is not the store's. */
export function storeProblem(error: unknown): StoreProblem | undefined {
  if (!(error instanceof StoreAwayError || error instanceof StoreRefusedError)) return undefined;
  return { kind: "store_away", message: `The store is away: ${error.message}` };
}

export interface JobLookupOptions {
  /** Absent: this node keeps no records. */
  readonly store?: Pick<Store, "get">;
  readonly young: YoungJobs;
  readonly clock?: Clock;
}

export class JobLookup {
  readonly #options: JobLookupOptions;
  readonly #clock: Clock;

  constructor(options: JobLookupOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** @param signal aborting ends the wait for a record that is not there. */
  async find(id: string, signal?: AbortSignal): Promise<LookedUp> {
    const { store, young } = this.#options;
    const deadline = this.#clock.monotonic() + WAIT_MS;
    for (let turn = 0;; turn++) {
      const stored = store === undefined ? NO_STORE : await this.#stored(store, id);
      if (stored.kind === "found") {
        young.forget(id);
        return stored;
      }
      const job = young.get(id);
      if (job !== undefined) return { kind: "found", job };
      if (stored.kind !== "unknown_job") return stored;
      const isOver = this.#clock.monotonic() >= deadline || signal?.aborted === true;
      if (isOver || !isYoung(id, this.#clock.now(), WAIT_MS + SKEW_MS)) return stored;
      await this.#pause(PAUSES_MS[Math.min(turn, PAUSES_MS.length - 1)] ?? WAIT_MS);
    }
  }

  async #stored(store: Pick<Store, "get">, id: string): Promise<LookedUp> {
    try {
      const job = await store.get(id);
      return job === undefined ? { kind: "unknown_job", id } : { kind: "found", job };
    } catch (error) {
      const problem = storeProblem(error);
      if (problem === undefined) throw error;
      return problem;
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.after(ms, resolve));
  }
}
