/** Makes jobs in PostgreSQL unless their keys say that they are there already. */
import { judge, type Keys, type UsedKey } from "../new_job.ts";
import type { Created, NewJob } from "../store.ts";
import { numberOf, rowsText, searchable, textOf } from "./columns.ts";
import type { Transaction } from "./connections.ts";
import { recordEvents } from "./job_rows.ts";

/** The keys of this transaction: as they were read, and as the items before have left them. */
class ReadKeys implements Keys {
  readonly uses = new Map<string, UsedKey>();
  readonly #used: ReadonlyMap<string, UsedKey>;
  readonly #owners: Map<string, string>;

  constructor(used: ReadonlyMap<string, UsedKey>, owners: ReadonlyMap<string, string>) {
    this.#used = used;
    this.#owners = new Map(owners);
  }

  used(key: string): UsedKey | undefined {
    return this.uses.get(searchable(key)) ?? this.#used.get(searchable(key));
  }

  owner(key: string): string | undefined {
    return this.#owners.get(searchable(key));
  }

  use(key: string, use: UsedKey): void {
    this.uses.set(searchable(key), use);
  }

  own(key: string, job: string): void {
    this.#owners.set(searchable(key), job);
  }
}

export async function createJobs(
  sql: Transaction,
  newJobs: readonly NewJob[],
  keysSince: number,
  maxResultBytes: number,
): Promise<readonly Created[]> {
  const keys = await readKeys(sql, newJobs);
  const verdicts = newJobs.map((newJob) => {
    const verdict = judge(newJob, keys, keysSince);
    if (verdict.use !== undefined) keys.use(verdict.use.key, verdict.use);
    const { event } = newJob;
    const { uniqueKey } = event.request.terms;
    if (verdict.kind === "make" && uniqueKey !== undefined) keys.own(uniqueKey, event.id);
    return { event, verdict };
  });
  const made = verdicts.flatMap(({ event, verdict }) => verdict.kind === "make" ? [event] : []);
  const jobs = new Map(
    (await recordEvents(sql, made, maxResultBytes)).map((job) => [job.id, job]),
  );
  await writeUses(sql, keys);
  return verdicts.map(({ event, verdict }): Created => {
    if (verdict.kind === "told") return verdict.told;
    const job = jobs.get(event.id);
    if (job === undefined) throw new Error(`Job ${event.id} was not recorded`);
    return { kind: "created", job };
  });
}

/** Whoever else asks for one of these keys waits until this transaction is over. */
async function readKeys(sql: Transaction, newJobs: readonly NewJob[]): Promise<ReadKeys> {
  const idempotency = distinct(newJobs.map(({ idempotency }) => idempotency?.key));
  const unique = distinct(newJobs.map(({ event }) => event.request.terms.uniqueKey));
  if (idempotency.length + unique.length === 0) return new ReadKeys(new Map(), new Map());
  const all = rowsText([
    ...idempotency.map((key) => `idempotency ${key}`),
    ...unique.map((key) => `unique ${key}`),
  ]);
  await sql`
    SELECT pg_advisory_xact_lock(lock.number) FROM (
      SELECT DISTINCT hashtextextended(key, 0) AS number
        FROM json_array_elements_text((${all}::text)::json) AS k (key) ORDER BY number
    ) AS lock`;
  const used = await sql`
    SELECT key, fingerprint, job, used_at FROM coxswain.idempotency_keys
      WHERE key IN (SELECT json_array_elements_text((${rowsText(idempotency)}::text)::json))`;
  const owners = await sql`
    SELECT key, job FROM coxswain.unique_keys
      WHERE key IN (SELECT json_array_elements_text((${rowsText(unique)}::text)::json))`;
  return new ReadKeys(
    new Map(used.map((row) => [textOf(row, "key"), {
      fingerprint: textOf(row, "fingerprint"),
      job: textOf(row, "job"),
      usedAt: numberOf(row, "used_at"),
    }])),
    new Map(owners.map((row) => [textOf(row, "key"), textOf(row, "job")])),
  );
}

async function writeUses(sql: Transaction, { uses }: ReadKeys): Promise<void> {
  if (uses.size === 0) return;
  const rows = rowsText(Array.from(uses, ([key, { fingerprint, job, usedAt }]) => ({
    key,
    fingerprint: searchable(fingerprint),
    job,
    used_at: usedAt,
  })));
  await sql`
    INSERT INTO coxswain.idempotency_keys (key, fingerprint, job, used_at)
    SELECT * FROM json_to_recordset((${rows}::text)::json)
      AS r (key text, fingerprint text, job text, used_at bigint)
    ON CONFLICT (key) DO UPDATE SET
      fingerprint = excluded.fingerprint, job = excluded.job, used_at = excluded.used_at`;
}

function distinct(keys: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(keys.flatMap((key) => key === undefined ? [] : [searchable(key)]))];
}
