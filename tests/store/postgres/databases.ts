/** A database of its own for each test, in the server that all share. */
import { sharedPostgres } from "../../../scripts/services/postgres.ts";

let made = 0;

/** @returns its URL, with the password of the superuser. */
export async function makeDatabase(): Promise<string> {
  const postgres = await sharedPostgres();
  const name = `test_${process.pid}_${made++}`;
  postgres.sql(`CREATE DATABASE ${name}`);
  return postgres.urlOf(name);
}
