/** Leases in SQLite, by this process's clock: the file belongs to it. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Lease } from "../store.ts";
import { numberOf, textOf } from "./columns.ts";

export class LeaseTable {
  readonly #take: StatementSync;
  readonly #read: StatementSync;
  readonly #release: StatementSync;

  /** Whoever held a lease in this file has let go of the file: nobody else holds one now. */
  constructor(database: DatabaseSync) {
    database.exec("UPDATE leases SET until = 0");
    this.#take = database.prepare(
      `INSERT INTO leases (name, holder, until, term) VALUES (?, ?, ?, 1)
         ON CONFLICT (name) DO UPDATE SET
           term = leases.term + (leases.holder <> excluded.holder),
           holder = excluded.holder, until = excluded.until
         WHERE leases.holder = excluded.holder OR leases.until <= ?`,
    );
    this.#read = database.prepare("SELECT holder, until, term FROM leases WHERE name = ?");
    this.#release = database.prepare("UPDATE leases SET until = 0 WHERE name = ? AND holder = ?");
  }

  acquire(name: string, holder: string, ttlMs: number, now: number): Lease {
    const isHeld = this.#take.run(name, holder, Math.floor(now + ttlMs), now).changes > 0;
    const row = this.#read.get(name) ?? {};
    return {
      isHeld,
      holder: textOf(row, "holder"),
      leftMs: Math.max(0, numberOf(row, "until") - now),
      term: numberOf(row, "term"),
    };
  }

  release(name: string, holder: string): void {
    this.#release.run(name, holder);
  }
}
