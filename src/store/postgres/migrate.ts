/** Brings the tables up to this version, once for all nodes that start at the same time. */
import type { Sql } from "./connections.ts";
import { MIGRATION_LOCK, MIGRATIONS, NEWER_FORMAT } from "./schema.ts";

/** Several statements in one message are one transaction: all of it, or nothing. */
export async function migrate(sql: Sql): Promise<void> {
  await sql.unsafe(`
    SELECT pg_advisory_xact_lock(${MIGRATION_LOCK});
    DO $migrate$
    DECLARE
      known integer := 0;
    BEGIN
      IF to_regclass('coxswain.format') IS NULL THEN
        CREATE SCHEMA IF NOT EXISTS coxswain;
        CREATE TABLE coxswain.format (version integer NOT NULL);
        INSERT INTO coxswain.format (version) VALUES (0);
      END IF;
      SELECT version INTO known FROM coxswain.format;
      IF known > ${MIGRATIONS.length} THEN
        RAISE EXCEPTION 'a newer version of this program keeps its job records here '
          '(format %, ${MIGRATIONS.length} is understood)', known USING ERRCODE = '${NEWER_FORMAT}';
      END IF;
      ${MIGRATIONS.map(step).join("")}
      IF known < ${MIGRATIONS.length} THEN
        UPDATE coxswain.format SET version = ${MIGRATIONS.length};
      END IF;
    END
    $migrate$;`);
}

function step(migration: string, index: number): string {
  return `IF known < ${index + 1} THEN EXECUTE $step$${migration}$step$; END IF;`;
}
