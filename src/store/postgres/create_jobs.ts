/** Makes jobs in PostgreSQL unless their keys say that they are there already. */
import { judge, type Keys, type UsedKey } from "../new_job.ts";
import type { Created, NewJob } from "../store.ts";
import { numberOf, rowsText, searchable, textOf } from "./columns.ts";
import type { Sql } from "./connections.ts";
import { applyEvents } from "./job_rows.ts";

/** The keys as they were read, and as the items before have left them. */
class ReadKeys implements Keys {
  readonly uses = new Map<string, UsedKey>();
  /** As they were read. */
  readonly before: ReadonlyMap<string, UsedKey>;
  readonly #owners: Map<string, string>;

  constructor(used: ReadonlyMap<string, UsedKey>, owners: ReadonlyMap<string, string>) {
    this.before = used;
    this.#owners = new Map(owners);
  }

  used(key: string): UsedKey | undefined {
    return this.uses.get(searchable(key)) ?? this.before.get(searchable(key));
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

/** Fails with 40001 where a key was used or taken meanwhile, and is then to be repeated. */
export async function createJobs(
  sql: Sql,
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
  const applied = await applyEvents(sql, made, maxResultBytes);
  if (made.length + keys.uses.size > 0) {
    const { jobs = "[]", payloads = "[]", claims = "[]", releases = "[]" } = applied.written ?? {};
    await sql`
      SELECT coxswain.record((${jobs}::text)::json, (${payloads}::text)::json,
        (${claims}::text)::json, true, (${releases}::text)::json, (${usesText(keys)}::text)::json)`;
  }
  const jobs = new Map(applied.jobs.map((job) => [job.id, job]));
  return verdicts.map(({ event, verdict }): Created => {
    if (verdict.kind === "told") return verdict.told;
    const job = jobs.get(event.id);
    if (job === undefined) throw new Error(`Job ${event.id} was not recorded`);
    return { kind: "created", job };
  });
}

async function readKeys(sql: Sql, newJobs: readonly NewJob[]): Promise<ReadKeys> {
  const idempotency = distinct(newJobs.map(({ idempotency }) => idempotency?.key));
  const unique = distinct(newJobs.map(({ event }) => event.request.terms.uniqueKey));
  if (idempotency.length + unique.length === 0) return new ReadKeys(new Map(), new Map());
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

/** A key is entered where it is still as it was read, or still not there. */
function usesText({ uses, before }: ReadKeys): string {
  return rowsText(Array.from(uses, ([key, { fingerprint, job, usedAt }]) => ({
    key,
    fingerprint: searchable(fingerprint),
    job,
    used_at: usedAt,
    old_job: before.get(key)?.job ?? null,
    old_used_at: before.get(key)?.usedAt ?? null,
  })));
}

function distinct(keys: readonly (string | undefined)[]): readonly string[] {
  return [...new Set(keys.flatMap((key) => key === undefined ? [] : [searchable(key)]))];
}

export async function forgetKeys(sql: Sql, before: number, limit: number): Promise<void> {
  await sql`
    DELETE FROM coxswain.idempotency_keys WHERE key IN
      (SELECT key FROM coxswain.idempotency_keys WHERE used_at < ${before} LIMIT ${limit})`;
}
