/**
 * The values of options as clients write them, in a query or in JSON: what calls and jobs share. Which
 * options there are is said where they are read.
 */
import * as v from "valibot";
import { parseDuration } from "../lifecycle/duration.ts";
import { problemOfQueue } from "../reserved_names.ts";

const MAX_WAIT_MS = 24 * 3_600_000;
const MAX_PRIORITY = 10;

const DURATION = "expected a duration above zero and up to 24h, such as 500ms, 3s or 2m";
const PRIORITY = `expected a whole number from 0 to ${MAX_PRIORITY}`;
const FLAG = "expected true or false";
const QUEUE =
  "expected the name of a task queue, up to 255 bytes and none of the program's or the " +
  "broker's own";

/** Milliseconds of a text such as "3s". */
export const Duration = v.pipe(
  v.string(DURATION),
  v.rawTransform(({ dataset, addIssue, NEVER }) => {
    const durationMs = durationOf(dataset.value);
    if (durationMs !== undefined && durationMs > 0 && durationMs <= MAX_WAIT_MS) return durationMs;
    addIssue({ message: DURATION });
    return NEVER;
  }),
);

/** A number, or its text. */
export const Priority = v.pipe(
  v.union([
    v.number(),
    v.pipe(v.string(), v.regex(/^\d{1,2}$/), v.transform(Number)),
  ], PRIORITY),
  v.integer(PRIORITY),
  v.minValue(0, PRIORITY),
  v.maxValue(MAX_PRIORITY, PRIORITY),
);

/** In a query the name alone is enough: `?once`. */
export const Flag = v.union([
  v.boolean(),
  v.pipe(v.picklist(["true", "1", ""]), v.transform(() => true)),
  v.pipe(v.picklist(["false", "0"]), v.transform(() => false)),
], FLAG);

/** A queue that a client may send tasks to. */
export const Queue = v.pipe(
  v.string(QUEUE),
  v.check((name) => problemOfQueue(name) === undefined, QUEUE),
);

function durationOf(text: string): number | undefined {
  try {
    return parseDuration(text);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
