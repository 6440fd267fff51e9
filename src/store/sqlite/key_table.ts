/** Unique keys of unfinished jobs, and idempotency keys of requests, in SQLite. */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Keys, UsedKey } from "../new_job.ts";
import { numberOf, textOf } from "./columns.ts";

export class KeyTable implements Keys {
  readonly #owner: StatementSync;
  readonly #claim: StatementSync;
  readonly #release: StatementSync;
  readonly #used: StatementSync;
  readonly #use: StatementSync;
  readonly #forget: StatementSync;

  constructor(database: DatabaseSync) {
    this.#owner = database.prepare("SELECT job FROM unique_keys WHERE key = ?");
    this.#claim = database.prepare("INSERT OR IGNORE INTO unique_keys (key, job) VALUES (?, ?)");
    this.#release = database.prepare("DELETE FROM unique_keys WHERE key = ? AND job = ?");
    this.#used = database.prepare(
      "SELECT fingerprint, job, used_at FROM idempotency_keys WHERE key = ?",
    );
    this.#use = database.prepare(
      "INSERT OR REPLACE INTO idempotency_keys (key, fingerprint, job, used_at) VALUES (?, ?, ?, ?)",
    );
    this.#forget = database.prepare(
      `DELETE FROM idempotency_keys WHERE rowid IN
         (SELECT rowid FROM idempotency_keys WHERE used_at < ? LIMIT ?)`,
    );
  }

  /** The unfinished job that has a unique key. */
  owner(key: string): string | undefined {
    const row = this.#owner.get(key);
    return row === undefined ? undefined : textOf(row, "job");
  }

  claim(key: string, job: string): void {
    this.#claim.run(key, job);
  }

  release(key: string, job: string): void {
    this.#release.run(key, job);
  }

  used(key: string): UsedKey | undefined {
    const row = this.#used.get(key);
    return row === undefined ? undefined : {
      fingerprint: textOf(row, "fingerprint"),
      job: textOf(row, "job"),
      usedAt: numberOf(row, "used_at"),
    };
  }

  use(key: string, { fingerprint, job, usedAt }: UsedKey): void {
    this.#use.run(key, fingerprint, job, usedAt);
  }

  forget(before: number, limit: number): void {
    this.#forget.run(before, limit);
  }
}
