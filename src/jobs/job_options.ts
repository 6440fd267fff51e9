/**
 * A job's options as clients write them: in a query, beside an input in JSON, or from a task. What
 * becomes of them is enqueuer.ts.
 */
import * as v from "valibot";
import { Duration, Priority, Queue } from "../calls/option_values.ts";

const MAX_RETRIES = 1_000;
const MAX_KEY_LENGTH = 255;
/** Further ahead is a slip of the pen, such as seconds read as milliseconds. */
const MAX_AHEAD_MS = 10 * 366 * 86_400_000;

const RETRIES = `expected a whole number from 0 to ${MAX_RETRIES}`;
const INSTANT = "expected an instant of ISO 8601 with its offset, such as 2030-01-31T03:00:00Z, " +
  "at most ten years ahead";
const EXPIRES = "expected a duration such as 30s or 2h, or an instant such as 2030-01-31T03:00:00Z";
const KEY = `expected a text of 1 to ${MAX_KEY_LENGTH} characters`;

const Instant = v.pipe(
  v.string(INSTANT),
  v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[zZ]|[+-]\d\d:?\d\d)$/, INSTANT),
  v.transform((text) => Date.parse(text)),
  v.number(INSTANT),
  v.check((at) => at < Date.now() + MAX_AHEAD_MS, INSTANT),
);

/** In a query a number is a text. */
const Retries = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.regex(/^\d{1,4}$/), v.transform(Number))], RETRIES),
  v.integer(RETRIES),
  v.minValue(0, RETRIES),
  v.maxValue(MAX_RETRIES, RETRIES),
);

const Key = v.pipe(v.string(KEY), v.minLength(1, KEY), v.maxLength(MAX_KEY_LENGTH, KEY));

const Shape = v.object({
  delay: v.exactOptional(Duration),
  eta: v.exactOptional(Instant),
  expires: v.exactOptional(v.union([Duration, Instant], EXPIRES)),
  priority: v.exactOptional(Priority),
  retries: v.exactOptional(Retries),
  timeout: v.exactOptional(Duration),
  queue: v.exactOptional(Queue),
  unique: v.exactOptional(Key),
});

export const JOB_OPTION_NAMES: readonly string[] = Object.keys(Shape.entries);

/** Instants in epoch milliseconds, durations in milliseconds. */
export interface JobOptions {
  /** Nobody may start it before. */
  readonly etaAt?: number;
  /** Nobody may start it after. */
  readonly expiresAt?: number;
  /** 0 to 10. */
  readonly priority?: number;
  /** Attempts after the first. */
  readonly retryLimit?: number;
  /** Hard limit of one attempt; the task's own caps it. */
  readonly timeoutMs?: number;
  readonly queue?: string;
  /** While a job of this key is unfinished, a further one is that job. */
  readonly uniqueKey?: string;
}

export type ReadJobOptions =
  | { readonly value: JobOptions }
  /** Says which option, its value, and what was expected. */
  | { readonly problem: string };

/**
 * Reads options.
 * @param given by name; values are texts in a query, and what JSON carries elsewhere.
 * @param now epoch milliseconds, which delays and durations count from.
 */
export function readJobOptions(given: ReadonlyMap<string, unknown>, now: number): ReadJobOptions {
  for (const name of given.keys()) {
    if (JOB_OPTION_NAMES.includes(name)) continue;
    const known = JOB_OPTION_NAMES.join(", ");
    return { problem: `Unknown option "${shortened(name)}": there are ${known}` };
  }
  const parsed = v.safeParse(Shape, Object.fromEntries(given));
  if (!parsed.success) {
    const [issue] = parsed.issues;
    const name = v.getDotPath(issue) ?? "";
    const value = shortened(JSON.stringify(given.get(name)) ?? "");
    return { problem: `Option "${name}" is ${value}: ${issue.message}` };
  }
  const { delay, eta, expires, priority, retries, timeout, queue, unique } = parsed.output;
  if (delay !== undefined && eta !== undefined) {
    return { problem: "Options delay and eta exclude each other: one says when it may start" };
  }
  const etaAt = delay === undefined ? eta : now + delay;
  const expiresAt = expires === undefined
    ? undefined
    : isInstant(given.get("expires"))
    ? expires
    : now + expires;
  if (expiresAt !== undefined && expiresAt <= (etaAt ?? now)) {
    return {
      problem: `Option "expires" is ${shortened(String(given.get("expires")))}: ` +
        `expected an end after the job may start`,
    };
  }
  return {
    value: {
      ...(etaAt === undefined ? {} : { etaAt }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(priority === undefined ? {} : { priority }),
      ...(retries === undefined ? {} : { retryLimit: retries }),
      ...(timeout === undefined ? {} : { timeoutMs: timeout }),
      ...(queue === undefined ? {} : { queue }),
      ...(unique === undefined ? {} : { uniqueKey: unique }),
    },
  };
}

function isInstant(value: unknown): boolean {
  return typeof value === "string" && value.includes("T");
}

function shortened(text: string): string {
  return text.length <= 80 ? text : `${text.slice(0, 80)}…`;
}
