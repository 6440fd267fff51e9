/** Leases in PostgreSQL, by the server's clock, so that nodes need not agree on the time. */
import type { Lease } from "../store.ts";
import { numberOf, textOf } from "./columns.ts";
import type { Sql } from "./connections.ts";

export async function acquireLease(
  sql: Sql,
  name: string,
  holder: string,
  ttlMs: number,
): Promise<Lease> {
  const now = sql`floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint`;
  const { count } = await sql`
    INSERT INTO coxswain.leases AS l (name, holder, until, term)
    VALUES (${name}, ${holder}, ${now} + ${Math.floor(ttlMs)}::bigint, 1)
    ON CONFLICT (name) DO UPDATE SET
      term = l.term + CASE WHEN l.holder = excluded.holder THEN 0 ELSE 1 END,
      holder = excluded.holder, until = excluded.until
      WHERE l.holder = excluded.holder OR l.until <= ${now}`;
  const [row] = await sql`
    SELECT holder, term, greatest(0, until - ${now}) AS left_ms
      FROM coxswain.leases WHERE name = ${name}`;
  const current = row === undefined ? "" : textOf(row, "holder");
  return {
    // Somebody else may have it by now, if the time was very short.
    isHeld: count > 0 && current === holder,
    holder: current,
    leftMs: row === undefined ? 0 : numberOf(row, "left_ms"),
    term: row === undefined ? 0 : numberOf(row, "term"),
  };
}

export async function releaseLease(sql: Sql, name: string, holder: string): Promise<void> {
  await sql`UPDATE coxswain.leases SET until = 0 WHERE name = ${name} AND holder = ${holder}`;
}
