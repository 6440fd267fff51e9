/**
 * A call's options as HTTP clients write them, in a query or beside an input: `timeout`, `expires`,
 * `priority`, `queue`, `persistent`, `once`.
 */
import * as v from "valibot";
import type { CallOptions } from "../calls/call.ts";
import { parseDuration } from "../lifecycle/duration.ts";
import { bad, type Read } from "./body.ts";
import { shortened } from "./problems.ts";

const MAX_WAIT_MS = 24 * 3_600_000;
const MAX_PRIORITY = 10;
/** AMQP 0-9-1's short string. */
const MAX_QUEUE_NAME_BYTES = 255;
/** Queues of the program itself, of Celery's remote control and of the broker. */
const RESERVED_QUEUE = /^(?:cox\.|reply\.|amq\.|celeryev(?:\.|$))|(?:^|\.)celery\.pidbox$/;

const DURATION = "expected a duration above zero and up to 24h, such as 500ms, 3s or 2m";
const PRIORITY = `expected a whole number from 0 to ${MAX_PRIORITY}`;
const FLAG = "expected true or false";
const QUEUE =
  `expected the name of a task queue, up to ${MAX_QUEUE_NAME_BYTES} bytes and none of the ` +
  "program's or the broker's own";

const Duration = v.pipe(
  v.string(DURATION),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const durationMs = durationOf(dataset.value);
    if (durationMs !== undefined && durationMs > 0 && durationMs <= MAX_WAIT_MS) return durationMs;
    addIssue({ message: DURATION });
    return NEVER;
  }),
);

const Priority = v.pipe(
  v.union([
    v.number(),
    v.pipe(v.string(), v.regex(/^\d{1,2}$/), v.transform(Number)),
  ], PRIORITY),
  v.integer(PRIORITY),
  v.minValue(0, PRIORITY),
  v.maxValue(MAX_PRIORITY, PRIORITY),
);

/** In a query the name alone is enough: `?once`. */
const Flag = v.union([
  v.boolean(),
  v.pipe(v.picklist(["true", "1", ""]), v.transform(() => true)),
  v.pipe(v.picklist(["false", "0"]), v.transform(() => false)),
], FLAG);

const Queue = v.pipe(
  v.string(QUEUE),
  v.check((name) => {
    const { length } = new TextEncoder().encode(name);
    return length > 0 && length <= MAX_QUEUE_NAME_BYTES && !RESERVED_QUEUE.test(name);
  }, QUEUE),
);

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
  const start = url.indexOf("?");
  if (start === -1 || start === url.length - 1) return NONE;
  const given = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(url.slice(start + 1))) {
    if (given.has(name)) return { problem: bad(`Option "${shortened(name)}" is given twice`) };
    given.set(name, value);
  }
  return readOptions(given);
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

function durationOf(text: string): number | undefined {
  try {
    return parseDuration(text);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
