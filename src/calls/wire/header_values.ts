/** Header values as they are read from messages that anybody may have written. */
import type { HeaderValue } from "../../broker/message.ts";

/** Celery's integers have 32 bits. Sums with a few more stay exact, and JSON can write them. */
const MAX_COUNT = 2 ** 31 - 1;

/** A count, such as attempts so far: whole and bounded; 0 for all that is none. */
export function count(value: HeaderValue | undefined): number {
  return typeof value === "number" && value > 0 ? Math.min(Math.floor(value), MAX_COUNT) : 0;
}
