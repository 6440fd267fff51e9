/**
 * Every failure that HTTP tells, in one table, and the RFC 9457 response that tells it. Which ending
 * of a call is which of these problems is ending_problem.ts.
 */

interface ProblemKind {
  readonly status: number;
  readonly title: string;
  /** Seconds after which it may be tried again: only where the task has certainly not run. */
  readonly retryAfterS?: number;
}

/** Name, the last part of a problem's `type`, which programs rely on → what it is. */
export const PROBLEMS = {
  "bad-request": { status: 400, title: "The request cannot be read" },
  refused: { status: 400, title: "The call or message cannot be sent" },
  unauthorized: { status: 401, title: "A token is needed" },
  forbidden: { status: 403, title: "Not allowed" },
  "not-found": { status: 404, title: "No such route" },
  "reserved-name": { status: 400, title: "The name is empty or not an application's" },
  "unknown-device": { status: 404, title: "No such device" },
  "unknown-exchange": { status: 404, title: "No such exchange" },
  "unknown-dead-letter": { status: 404, title: "No such dead letter" },
  "unknown-job": { status: 404, title: "No such job" },
  "unknown-queue": { status: 404, title: "No such queue" },
  "unknown-schedule": { status: 404, title: "No such schedule" },
  "unknown-task": { status: 404, title: "No such task" },
  "method-not-allowed": { status: 405, title: "The route has no such method" },
  cancelled: { status: 409, title: "The call was cancelled" },
  "exchange-differs": { status: 409, title: "The exchange exists with another type" },
  "device-busy": { status: 409, title: "The device is busy" },
  "idempotency-conflict": {
    status: 409,
    title: "The idempotency key was used with another request",
  },
  "job-not-finished": { status: 409, title: "The job has not ended" },
  "not-retryable": { status: 409, title: "The job cannot be tried again" },
  "too-large": { status: 413, title: "The request body is too large" },
  "unsupported-encoding": { status: 415, title: "The request body's encoding is not supported" },
  "invalid-input": { status: 422, title: "The task refused its input" },
  "too-many-waiting": { status: 429, title: "Too many calls are waiting", retryAfterS: 1 },
  "too-many-jobs": { status: 429, title: "Too many jobs are being accepted", retryAfterS: 1 },
  "task-failed": { status: 500, title: "The task failed" },
  "too-many-subscribers": {
    status: 503,
    title: "Too many subscribers",
    retryAfterS: 5,
  },
  "internal-error": { status: 500, title: "The front failed" },
  "unreadable-reply": { status: 502, title: "The reply could not be read" },
  "worker-lost": { status: 502, title: "The worker was lost" },
  "device-lost": { status: 502, title: "The device was lost" },
  "outcome-unknown": { status: 502, title: "The outcome is unknown" },
  "results-too-large": { status: 502, title: "The results together are too large" },
  expired: { status: 503, title: "The call expired before a worker took it", retryAfterS: 1 },
  "store-away": { status: 503, title: "The store of job records is away", retryAfterS: 2 },
  // Without a time to try again: here it will be so for ever.
  "no-job-records": { status: 503, title: "This front keeps no job records" },
  // Nor here: the job may be there.
  "acceptance-unknown": { status: 503, title: "The job may or may not have been accepted" },
  "broker-away": { status: 503, title: "The broker is away", retryAfterS: 2 },
  "not-ready": { status: 503, title: "The node is not ready", retryAfterS: 2 },
  "no-reply": { status: 504, title: "The device did not reply" },
  "timed-out": { status: 504, title: "The task ran past its limit" },
} as const satisfies Readonly<Record<string, ProblemKind>>;

export type ProblemName = keyof typeof PROBLEMS;

export function isProblemName(name: string): name is ProblemName {
  return Object.hasOwn(PROBLEMS, name);
}

/** One failure, before it becomes a response or an element of one. */
export interface Problem {
  readonly name: ProblemName;
  /** What happened this time, for people. */
  readonly detail: string;
  /** What programs want to know besides: extension members. */
  readonly members?: Readonly<Record<string, unknown>>;
  /** Header fields of the response, besides its content type. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly [member: string]: unknown;
}

/** RFC 9457, section 3. `type` is relative to the front's root: `/problems/` and the name. */
export function problemBody({ name, detail, members }: Problem): ProblemBody {
  const { status, title } = PROBLEMS[name];
  return { type: `/problems/${name}`, title, status, detail, ...members };
}

/** @param instance names this one occurrence: a `urn:uuid:`. */
export function problemResponse(problem: Problem, instance: string): Response {
  const kind: ProblemKind = PROBLEMS[problem.name];
  return new Response(JSON.stringify({ ...problemBody(problem), instance }), {
    status: kind.status,
    headers: {
      ...problem.headers,
      "content-type": "application/problem+json",
      ...(kind.retryAfterS === undefined ? {} : { "retry-after": `${kind.retryAfterS}` }),
    },
  });
}

/** For details: a text that a client sent, without its end where it is long. */
export function shortened(text: string): string {
  return text.length > 200 ? `${text.slice(0, 197)}...` : text;
}
