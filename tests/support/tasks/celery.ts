/** Tasks that a Celery client knows from its own application, on Celery's default queue. */
import { setTimeout as pause } from "node:timers/promises";
import { context, enqueue, Reject, Retry, task } from "coxswain";

const options = { queue: "celery", timeout: "30s" } as const;

export const add = task("tasks.add", options, (a: number, b: number) => a + b);

/** What arrives, as Celery's own task of this name tells it. */
export const echo = task("tasks.echo", options, (...args: unknown[]) => ({
  args,
  id: context.id,
  attempt: context.attempt,
  headers: context.request.headers,
}));

export const fail = task(
  "tasks.fail",
  options,
  (message: string = "boom", type: string = "ValueError") => {
    throw Object.assign(new Error(message), { name: type });
  },
);

export const sleep = task(
  "tasks.sleep",
  options,
  (seconds: number) => pause(seconds * 1000, seconds, { signal: context.signal }),
);

/** Never gives its loop back. */
export const spin = task("tasks.spin", options, () => {
  while (true);
});

/** Asks for another attempt until it has had so many; its policy allows two. */
export const retry = task(
  "tasks.retry",
  { ...options, retry: { limit: 2 } },
  (times: number, after: `${number}ms` | `${number}s` = "50ms") => {
    if (context.attempt <= times) throw new Retry({ after, message: "not yet" });
    return { retries: context.attempt - 1 };
  },
);

export const reject = task("tasks.reject", options, () => {
  throw new Reject("no thanks");
});

export const progress = task("tasks.progress", options, async () => {
  context.progress(0.5, "half of it");
  await pause(50);
  return "done";
});

export const tsum = task(
  "tasks.tsum",
  options,
  (values: number[]) => values.reduce((sum, value) => sum + value, 0),
);

/** Has another task run after it. */
export const spawn = task("tasks.spawn", options, (x: number) => enqueue("tasks.add", [x, 1]));

const noted: unknown[] = [];

/** Keeps what it was called with; a worker with one isolate has one list. */
export const note = task("tasks.note", options, (...args: unknown[]) => {
  noted.push(args);
  return args;
});

export const notes = task("tasks.notes", options, () => noted.splice(0));

/** An errback with Celery's present signature. */
export const errback = task(
  "tasks.errback",
  options,
  (request: unknown, exc: unknown, traceback: unknown) => {
    noted.push([request, exc, typeof traceback]);
  },
);

/** No application of Celery's has it. */
export const double = task("tasks.double", options, (x: number) => 2 * x);
