/**
 * How many jobs there are of each state. Counted once when the file is opened and kept by hand from
 * then on, for this process alone writes to it: counting a million rows stops everything for long.
 */
import type { DatabaseSync } from "node:sqlite";
import { JOB_STATES, type JobState, type JobSummary } from "../../jobs/job.ts";
import type { StoreStats } from "../store.ts";
import { numberOf, textOf } from "./columns.ts";

const DEAD = "dead";
type Counted = JobState | typeof DEAD;

export class Counts {
  readonly #counts = new Map<string, number>();
  /** What the open transaction changes. */
  #pending = new Map<string, number>();

  constructor(database: DatabaseSync) {
    const byState = database.prepare("SELECT state, count(*) AS n FROM jobs GROUP BY state").all();
    for (const row of byState) this.#counts.set(textOf(row, "state"), numberOf(row, "n"));
    const dead = database.prepare(
      "SELECT count(*) AS n FROM jobs INDEXED BY jobs_dead WHERE dead_at IS NOT NULL",
    ).get();
    this.#counts.set(DEAD, dead === undefined ? 0 : numberOf(dead, "n"));
  }

  move(before: JobSummary | undefined, after: JobSummary | undefined): void {
    for (const name of countedAs(before)) this.#add(name, -1);
    for (const name of countedAs(after)) this.#add(name, 1);
  }

  /** The transaction is over. */
  settle(isCommitted: boolean): void {
    if (isCommitted) {
      for (const [name, n] of this.#pending) this.#counts.set(name, this.#of(name) + n);
    }
    this.#pending = new Map();
  }

  stats(): StoreStats {
    const byState = Object.fromEntries(JOB_STATES.map((state) => [state, this.#of(state)]));
    return { byState: byState as Record<JobState, number>, deadLetters: this.#of(DEAD) };
  }

  #add(name: Counted, n: number): void {
    this.#pending.set(name, (this.#pending.get(name) ?? 0) + n);
  }

  #of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }
}

function countedAs(job: JobSummary | undefined): readonly Counted[] {
  if (job === undefined) return [];
  return job.deadLetter === undefined ? [job.state] : [job.state, DEAD];
}
