/**
 * A call's options as HTTP clients write them, in a query or beside an input: `timeout`, `expires`,
 * `priority`, `queue`, `persistent`, `once`.
 */
import * as v from "valibot";
import type { CallOptions } from "../calls/call.ts";
import { Duration, Flag, Priority, Queue } from "../calls/option_values.ts";
import { bad, type Read } from "./body.ts";
import { shortened } from "./problems.ts";
import { readQuery } from "./query.ts";

const Options = v.object({
  timeout: v.exactOptional(Duration),
  expires: v.exactOptional(Duration),
  priority: v.exactOptional(Priority),
  queue: v.exactOptional(Queue),
  persistent: v.exactOptional(Flag),
  once: v.exactOptional(Flag),
});

const NAMES: readonly string[] = Object.keys(Options.entries);

/** What a query or an element of `/parallel` can set; the header fields come from the request. */
export type GivenOptions = Omit<CallOptions, "headers">;

const NONE: Read<GivenOptions> = { value: Object.freeze({}) };

/** Options from a URL's query. */
export function queryOptions(url: string): Read<GivenOptions> {
  const query = readQuery(url);
  if ("problem" in query) return query;
  return query.value.size === 0 ? NONE : readOptions(query.value);
}

/** Options from what has been read of a query or of JSON. */
export function readOptions(given: ReadonlyMap<string, unknown>): Read<GivenOptions> {
  for (const name of given.keys()) {
    if (!NAMES.includes(name)) {
      return {
        problem: bad(`Unknown option "${shortened(name)}": there are ${NAMES.join(", ")}`),
      };
    }
  }
  const parsed = v.safeParse(Options, Object.fromEntries(given));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const name = v.getDotPath(issue) ?? "";
    const value = shortened(JSON.stringify(given.get(name)) ?? "");
    return { problem: bad(`Option "${name}" is ${value}: ${issue.message}`) };
  }
  const { timeout, expires, ...rest } = parsed.output;
  return {
    value: {
      ...rest,
      ...(timeout === undefined ? {} : { timeoutMs: timeout }),
      ...(expires === undefined ? {} : { expiresMs: expires }),
    },
  };
}
