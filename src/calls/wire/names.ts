/** The names on the wire that more than one message uses: Celery's protocol 2 and our own headers. */

/** Content type of every body that we write or read; Celery refuses a charset parameter. */
export const JSON_TYPE = "application/json";
/** Celery's name for a zlib (not gzip) stream. */
export const ZLIB = "application/x-gzip";
/** Bodies over this size are compressed. */
export const COMPRESS_OVER_BYTES = 32 * 1024;

/** Headers of ours; whoever does not know them passes over them. */
export const COX = {
  /** Version of the program that published the message. */
  version: "cox-version",
  /** "call" or "job". */
  kind: "cox-kind",
  /** Hard and soft limit in milliseconds, exact where Celery's `timelimit` has whole seconds. */
  timeoutMs: "cox-timeout-ms",
  softTimeoutMs: "cox-soft-timeout-ms",
  /** "celery": a message that is published by us for a Celery client, who has its promises. */
  from: "cox-from",
  /** The message must not run a second time. */
  once: "cox-once",
  /** Attempts that may follow the first, where the sender said so. */
  retryLimit: "cox-retry-limit",
  /** First attempt of the present round, where an operator has tried a job again. */
  firstAttempt: "cox-first-attempt",
  /** How often workers that lack the task have given the message on. */
  hops: "cox-hops",
  /** Who published the message cannot know whether it had been published before: it may have run. */
  again: "cox-again",
  /** How many processes that ran this message alone have died by it. */
  deaths: "cox-deaths",
  /** On consumed messages that are tried again: where they were published first, … */
  exchange: "cox-exchange",
  routingKey: "cox-routing-key",
  /** … what `context.id` is, how many attempts have failed, and how, the latest ones, … */
  consumedId: "cox-consumed-id",
  failures: "cox-failures",
  history: "cox-history",
  /** … and, where their pause was cut short, when it ends (ISO 8601). */
  notBefore: "cox-not-before",
  /** On replies: the outcome's kind, where Celery's status does not tell it. */
  outcome: "cox-outcome",
  /** On replies: what the task set on `context.headers`. */
  headers: "cox-headers",
  /** On replies: the limit that was passed. */
  limitMs: "cox-limit-ms",
  /** On replies and dead letters: the node that wrote them. */
  node: "cox-node",
  /** On dead letters: why, when and from which queue. */
  deadReason: "cox-dead-reason",
  deadAt: "cox-dead-at",
  deadQueue: "cox-dead-queue",
} as const;

/** An instant as Celery writes and reads it: ISO 8601 with an offset. */
export function wireInstant(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, -1)}+00:00`;
}
