/** Brings the tables up to this version, once for all nodes that start at the same time. */
import { StoreRefusedError } from "../errors.ts";
import type { Transaction } from "./connections.ts";
import { MIGRATION_LOCK, MIGRATIONS } from "./schema.ts";

/** @throws StoreRefusedError where a newer program has been here. */
export async function migrate(sql: Transaction): Promise<void> {
  // Another node may be at it, and its steps may take longer than statements usually may.
  await sql`SET LOCAL statement_timeout = 0`;
  await sql`SELECT pg_advisory_xact_lock(${String(MIGRATION_LOCK)}::bigint)`;
  const version = await versionOf(sql);
  if (version > MIGRATIONS.length) {
    throw new StoreRefusedError(
      `A newer version of this program keeps its job records here (format ${version}, ` +
        `${MIGRATIONS.length} is understood). Run that version, or name another database with --store`,
    );
  }
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    await sql.unsafe(migration);
    await sql`UPDATE coxswain.format SET version = ${index + 1}`;
  }
}

async function versionOf(sql: Transaction): Promise<number> {
  const [known] = await sql`SELECT to_regclass('coxswain.format') IS NOT NULL AS is_there`;
  if (known?.["is_there"] !== true) {
    await sql`CREATE SCHEMA IF NOT EXISTS coxswain`;
    await sql`CREATE TABLE coxswain.format (version integer NOT NULL)`;
    await sql`INSERT INTO coxswain.format (version) VALUES (0)`;
    return 0;
  }
  const [row] = await sql`SELECT version FROM coxswain.format`;
  return Number(row?.["version"] ?? 0);
}
