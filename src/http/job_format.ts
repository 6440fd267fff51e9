/** A job as clients are shown it, as JSON text; without what its task wants hidden. */
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import type { TaskError } from "../tasks/task_error.ts";
import type { AttemptRecord, Job, JobProgress, JobSummary } from "../jobs/job.ts";

export interface JobFormat {
  /** Whether stacks are shown. */
  readonly exposeErrors: boolean;
  /** What the task says now: a record may have been made by an event that does not tell it. */
  readonly redactOf?: (task: string) => TaskDescriptor["redact"];
}

/**
 * A whole record, or what lists show of one. Results and inputs are as they were sent, to the letter;
 * instants are ISO 8601.
 */
export function jobJson(job: Job | JobSummary, format: JobFormat): string {
  const { redact, names } = redactionOf(job, format);
  const { terms = {} } = job;
  const members: readonly (readonly [string, string | undefined])[] = [
    ["id", text(job.id)],
    ["task", text(job.task)],
    ["queue", text(job.queue)],
    ["state", text(job.state)],
    ["attempt", text(job.attempt)],
    ["result", redact.result || !("resultJson" in job) ? undefined : job.resultJson],
    ["resultOmittedBytes", text(job.omittedResultBytes)],
    ["error", job.error && text(errorOf(job.error, format))],
    ["progress", job.progress && text(progressOf(job.progress))],
    ["createdAt", instant(job.createdAt)],
    ["dueAt", instant(job.dueAt)],
    ["startedAt", instant(job.startedAt)],
    ["finishedAt", instant(job.finishedAt)],
    ["cancelRequestedAt", instant(job.cancelRequestedAt)],
    ["eta", instant(terms.etaAt)],
    ["expiresAt", instant(terms.expiresAt)],
    ["node", text(job.node)],
    ["redelivered", job.redelivered ? "true" : undefined],
    ["priority", text(terms.priority)],
    ["timeoutMs", text(terms.timeoutMs)],
    ["retries", text(terms.retryLimit)],
    ["unique", text(terms.uniqueKey)],
    ["parentId", text(job.parentId)],
    ["rootId", text(job.rootId)],
    [
      "deadLetter",
      job.deadLetter && text({
        at: iso(job.deadLetter.at),
        attempt: job.deadLetter.attempt,
        reason: job.deadLetter.reason,
      }),
    ],
    ["input", redact.input ? undefined : inputOf(job)],
    ["attempts", text(job.attempts.map((attempt) => attemptOf(attempt, format)))],
    ["redacted", names.length === 0 ? undefined : text(names)],
  ];
  const told = members.flatMap(([name, json]) => json === undefined ? [] : [`"${name}":${json}`]);
  return `{${told.join(",")}}`;
}

/** What a task tells of its progress. */
export function progressOf({ fraction, message, at, attempt }: JobProgress): object {
  return { fraction, message, at: iso(at), attempt };
}

function redactionOf(job: JobSummary, { redactOf }: JobFormat): {
  readonly redact: { readonly input: boolean; readonly result: boolean };
  readonly names: readonly string[];
} {
  const asked = job.terms?.redacted;
  const present = redactOf?.(job.task);
  const redact = {
    input: asked?.input === true || present?.input === true,
    result: asked?.result === true || present?.result === true,
  };
  return {
    redact,
    names: [...(redact.input ? ["input"] : []), ...(redact.result ? ["result"] : [])],
  };
}

/** As a client would send it. */
function inputOf(job: Job | JobSummary): string | undefined {
  if (!("payload" in job) || job.payload === undefined) return undefined;
  const { argsJson, kwargsJson } = job.payload.input;
  if (kwargsJson === "{}") return argsJson;
  return argsJson === "[]" ? kwargsJson : `{"args":${argsJson},"kwargs":${kwargsJson}}`;
}

function attemptOf(attempt: AttemptRecord, format: JobFormat): object {
  const { startedAt, endedAt, error, ...rest } = attempt;
  return {
    ...rest,
    startedAt: startedAt === undefined ? undefined : iso(startedAt),
    endedAt: endedAt === undefined ? undefined : iso(endedAt),
    error: error && errorOf(error, format),
  };
}

function errorOf({ type, message, stack, issues }: TaskError, { exposeErrors }: JobFormat): object {
  return { type, message, issues, stack: exposeErrors ? stack : undefined };
}

function text(value: unknown): string | undefined {
  return JSON.stringify(value);
}

function instant(at: number | undefined): string | undefined {
  return at === undefined ? undefined : `"${iso(at)}"`;
}

/** Instants come from events, which anybody on the broker can make up. */
function iso(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString();
}
