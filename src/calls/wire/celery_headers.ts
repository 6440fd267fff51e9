/**
 * What a Celery client's message carries besides what a request of ours has: kept over further rounds,
 * so that whoever runs it then, one of ours or of Celery's, finds it as it was sent.
 */
import type { HeaderValue, MessageHeaders } from "../../broker/message.ts";

/** Written anew for each round. */
const WRITTEN = new Set(
  "task id eta expires retries timelimit root_id parent_id compression".split(" "),
);

/** As JSON text; values that JSON does not have are left out. */
export function keptHeaders(headers: MessageHeaders): string {
  const kept = Object.entries(headers).filter(([name, value]) =>
    !WRITTEN.has(name) && !name.startsWith("cox-") && !name.startsWith("x-") && isPlain(value)
  );
  return JSON.stringify(Object.fromEntries(kept));
}

/** Reads what `keptHeaders` wrote. */
export function readKeptHeaders(json: string): MessageHeaders {
  const read: unknown = JSON.parse(json);
  return typeof read === "object" && read !== null ? read as MessageHeaders : {};
}

function isPlain(value: HeaderValue): boolean {
  if (typeof value === "bigint" || value instanceof Date || value instanceof Uint8Array) {
    return false;
  }
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every(isPlain);
}
