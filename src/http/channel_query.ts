/** What a query of `GET /channels/{channel}` says. */
import * as v from "valibot";
import { Duration } from "../calls/option_values.ts";
import { bad, type Read } from "./body.ts";
import { shortened } from "./problems.ts";

const MAX_WAIT_MS = 5 * 60_000;
const DEFAULT_WAIT_MS = 30_000;
const MAX_LIMIT = 1_000;
const DEFAULT_LIMIT = 100;
/** A position names up to nine messages. */
const MAX_ID_LENGTH = 1_024;

const WAIT = "expected a duration up to 5m, such as 30s, or 0s";
const LIMIT = `expected a whole number from 1 to ${MAX_LIMIT}`;
const AFTER = `expected the id of a message, up to ${MAX_ID_LENGTH} characters`;

const Query = v.object({
  wait: v.optional(
    v.union([
      v.pipe(v.picklist(["0", "0s", "0ms"]), v.transform(() => 0)),
      v.pipe(Duration, v.maxValue(MAX_WAIT_MS, WAIT)),
    ], WAIT),
    `${DEFAULT_WAIT_MS}ms`,
  ),
  limit: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\d{1,4}$/, LIMIT),
      v.transform(Number),
      v.minValue(1, LIMIT),
      v.maxValue(MAX_LIMIT, LIMIT),
    ),
    `${DEFAULT_LIMIT}`,
  ),
  after: v.exactOptional(
    v.pipe(v.string(), v.minLength(1, AFTER), v.maxLength(MAX_ID_LENGTH, AFTER)),
  ),
});

export interface ChannelQuery {
  readonly waitMs: number;
  readonly limit: number;
  readonly after?: string;
}

/** Reads `?wait=&limit=&after=`. */
export function readChannelQuery(url: string): Read<ChannelQuery> {
  const given = new Map<string, string>();
  for (const [name, value] of new URL(url, "http://front").searchParams) {
    if (!Object.hasOwn(Query.entries, name)) {
      const known = Object.keys(Query.entries).join(", ");
      return { problem: bad(`Unknown option "${shortened(name)}": there are ${known}`) };
    }
    if (given.has(name)) return { problem: bad(`Option "${name}" is given twice`) };
    given.set(name, value);
  }
  const parsed = v.safeParse(Query, Object.fromEntries(given));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const name = v.getDotPath(issue) ?? "";
    const value = shortened(given.get(name) ?? "");
    return { problem: bad(`Option "${name}" is "${value}": ${issue.message}`) };
  }
  const { wait, limit, after } = parsed.output;
  return { value: { waitMs: wait, limit, ...(after === undefined ? {} : { after }) } };
}
