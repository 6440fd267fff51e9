/**
 * What happens to jobs, as it travels on `cox.jobs` to the recorder: shapes, JSON and routing keys.
 * What an event does to a job is states.ts.
 */
import * as v from "valibot";
import type { EventOrder, JobSummary } from "./job.ts";

/** Names go into AMQP's short strings, and a database refuses a NUL. */
const MAX_NAME_LENGTH = 255;

const Name = v.pipe(
  v.string(),
  v.minLength(1),
  v.maxLength(MAX_NAME_LENGTH),
  v.check((text) => !text.includes("\0"), "must not contain a NUL"),
);
const Instant = v.pipe(v.number(), v.safeInteger());
const Attempt = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const Count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const ErrorShape = v.object({
  type: v.string(),
  message: v.string(),
  stack: v.exactOptional(v.string()),
  issues: v.exactOptional(
    v.pipe(
      v.array(v.object({ message: v.string(), path: v.pipe(v.array(v.string()), v.readonly()) })),
      v.readonly(),
    ),
  ),
});

const Terms = v.object({
  priority: v.exactOptional(Count),
  etaAt: v.exactOptional(Instant),
  expiresAt: v.exactOptional(Instant),
  timeoutMs: v.exactOptional(v.number()),
  softTimeoutMs: v.exactOptional(v.number()),
  retryLimit: v.exactOptional(Count),
  retry: v.exactOptional(v.object({
    limit: v.number(),
    backoff: v.picklist(["exponential", "fixed"]),
    baseMs: v.number(),
    capMs: v.number(),
    onTimeout: v.exactOptional(v.boolean()),
  })),
  uniqueKey: v.exactOptional(Name),
  idempotencyKey: v.exactOptional(Name),
  replyTo: v.exactOptional(v.string()),
  correlationId: v.exactOptional(v.string()),
  redacted: v.exactOptional(v.object({ input: v.boolean(), result: v.boolean() })),
});

const Payload = v.object({
  input: v.object({ argsJson: v.string(), kwargsJson: v.string() }),
  embedJson: v.exactOptional(v.string()),
  headers: v.record(v.string(), v.string()),
  celeryJson: v.exactOptional(v.string()),
  wireJson: v.exactOptional(v.string()),
});

const Request = v.object({ terms: Terms, payload: Payload });

const RunShape = v.object({ node: Name, startedAt: Instant, redelivered: v.boolean() });

const OutcomeShape = v.variant("kind", [
  v.object({
    kind: v.literal("succeeded"),
    /** JSON text; absent where it is too large to be recorded. */
    resultJson: v.exactOptional(v.string()),
    /** Size of a result that is not carried. */
    omittedBytes: v.exactOptional(Count),
  }),
  v.object({ kind: v.literal("failed"), error: ErrorShape }),
  v.object({ kind: v.literal("timed_out"), limitMs: v.number() }),
  v.object({ kind: v.literal("expired") }),
  v.object({ kind: v.literal("cancelled") }),
]);

/** In every event: enough to create the record, and the event's place in the job's order. */
const base = {
  id: Name,
  task: Name,
  queue: Name,
  createdAt: Instant,
  rootId: v.exactOptional(Name),
  parentId: v.exactOptional(Name),
  /** The attempt that it speaks of, from 1 on; over operators' retries too. */
  attempt: Attempt,
  /** The first attempt since the last operator's retry; absent is 1. */
  firstAttempt: v.exactOptional(Attempt),
  seq: Count,
  /** When it happened. */
  at: Instant,
  /** What was asked, where whoever tells it has it at hand and the record may lack it. */
  request: v.exactOptional(Request),
};

/** The worker that tells it has the job's message and settles it with this. */
const settles = v.boolean();

/** A worker that had its message gave it back to wait for its time: it is no longer in its queue. */
const isHandedBack = v.exactOptional(v.boolean());

const Event = v.variant("kind", [
  /** Its message is in its queue; who asked for it has been told, or will be. */
  v.object({ ...base, kind: v.literal("accepted"), request: Request }),
  /** It is to be published at `dueAt`, by the recorder where nobody has done it before. */
  v.object({
    ...base,
    kind: v.literal("scheduled"),
    request: Request,
    dueAt: Instant,
    isHandedBack,
  }),
  /** The message of this attempt is in its queue; again, where it had been handed back. */
  v.object({ ...base, kind: v.literal("published"), isHandedBack }),
  v.object({ ...base, kind: v.literal("started"), run: RunShape }),
  v.object({
    ...base,
    kind: v.literal("progress"),
    run: RunShape,
    fraction: v.exactOptional(v.number()),
    message: v.exactOptional(v.string()),
  }),
  /** The attempt failed; the next one is to be published at `dueAt`. Its message is settled. */
  v.object({
    ...base,
    kind: v.literal("retrying"),
    run: v.exactOptional(RunShape),
    error: ErrorShape,
    dueAt: Instant,
  }),
  v.object({
    ...base,
    kind: v.literal("outcome"),
    outcome: OutcomeShape,
    run: v.exactOptional(RunShape),
    settles,
  }),
  /** Given up and kept for an operator. Where it has not ended, it has failed. */
  v.object({
    ...base,
    kind: v.literal("dead_lettered"),
    reason: v.string(),
    error: v.exactOptional(ErrorShape),
    run: v.exactOptional(RunShape),
    settles,
  }),
  /** Somebody wants it cancelled. A job that does not run is cancelled with this. */
  v.object({ ...base, kind: v.literal("cancel_requested") }),
  /**
   * An operator tries a finished job again: `attempt` and `firstAttempt` are the next one, and the
   * recorder publishes it at `dueAt`.
   */
  v.object({ ...base, kind: v.literal("retried"), dueAt: Instant }),
]);

export type JobEvent = v.InferOutput<typeof Event>;
export type JobEventKind = JobEvent["kind"];
export type JobOutcome = v.InferOutput<typeof OutcomeShape>;
export type JobRequest = v.InferOutput<typeof Request>;
/** The events that begin a job. */
export type BeginningEvent = Extract<JobEvent, { kind: "accepted" | "scheduled" }>;

const Events = v.pipe(v.array(Event), v.minLength(1));

export type DecodedEvents =
  | { readonly kind: "events"; readonly events: readonly JobEvent[] }
  | { readonly kind: "unusable"; readonly reason: string };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The body of a message that carries one event or several: a JSON array. */
export function encodeJobEvents(events: readonly JobEvent[]): Uint8Array {
  return encoder.encode(JSON.stringify(events));
}

/** Reads a body; one event that cannot be read makes all of it unusable. */
export function decodeJobEvents(body: Uint8Array): DecodedEvents {
  const json = parse(body);
  return "reason" in json ? json : readEvents(json.value);
}

/** The same, of some jobs alone: others' events are not looked at. There may be none. */
export function decodeJobEventsOf(
  body: Uint8Array,
  isWanted: (id: string) => boolean,
): DecodedEvents {
  const json = parse(body);
  if ("reason" in json) return json;
  if (!Array.isArray(json.value)) return readEvents(json.value);
  const wanted = json.value.filter((event: unknown) =>
    typeof event === "object" && event !== null && "id" in event &&
    typeof event.id === "string" && isWanted(event.id)
  );
  return wanted.length === 0 ? { kind: "events", events: [] } : readEvents(wanted);
}

function parse(
  body: Uint8Array,
): { readonly value: unknown } | Extract<DecodedEvents, { kind: "unusable" }> {
  try {
    return { value: JSON.parse(decoder.decode(body)) };
  } catch (error) {
    return { kind: "unusable", reason: `The events are not JSON: ${String(error)}` };
  }
}

function readEvents(json: unknown): DecodedEvents {
  const read = v.safeParse(Events, json);
  if (read.success) return { kind: "events", events: read.output };
  const [issue] = read.issues;
  return {
    kind: "unusable",
    reason: `The events cannot be read: ${v.getDotPath(issue) ?? "body"}: ${issue.message}`,
  };
}

/**
 * The routing key on `cox.jobs`: `event.<kind>.<id>`, and `event.group` for several in one message, so
 * that who follows one job binds `event.*.<id>` and `event.group`.
 */
export function jobEventKey(events: readonly JobEvent[]): string {
  const [event] = events;
  return event === undefined || events.length > 1
    ? "event.group"
    : `event.${event.kind}.${event.id}`;
}

/** The next `seq` of an attempt, as described at `EventOrder`. */
export function nextSeq(previous: number, now: number): number {
  return Math.max(previous + 1, Math.floor(now));
}

export function compareOrder(a: EventOrder, b: EventOrder): number {
  return a.attempt - b.attempt || a.seq - b.seq;
}

/** What every event about a job that is known already begins with. */
export function eventBase(job: JobSummary, now: number): {
  readonly id: string;
  readonly task: string;
  readonly queue: string;
  readonly createdAt: number;
  readonly rootId?: string;
  readonly parentId?: string;
  readonly attempt: number;
  readonly firstAttempt: number;
  readonly seq: number;
  readonly at: number;
} {
  const { id, task, queue, createdAt, rootId, parentId, attempt, firstAttempt, lastEvent } = job;
  const previous = lastEvent.attempt === attempt ? lastEvent.seq : 0;
  return {
    id,
    task,
    queue,
    createdAt,
    ...(rootId === undefined ? {} : { rootId }),
    ...(parentId === undefined ? {} : { parentId }),
    attempt,
    firstAttempt,
    seq: nextSeq(previous, now),
    at: now,
  };
}

/** The attempt whose message a job that is due stands for. */
export function dueAttempt(job: JobSummary): number {
  return job.state === "retrying" ? job.attempt + 1 : job.attempt;
}

/** What whoever published a job that was due tells of it. */
export function publishedEvent(job: JobSummary, now: number): JobEvent {
  return {
    ...eventBase(job, now),
    kind: "published",
    attempt: dueAttempt(job),
    ...(job.phase.isHandedBack ? { isHandedBack: true } : {}),
  };
}
