/** `enqueue`, as tasks call it: a further job, accepted by this worker's own node. */
import type { Duration } from "./options.ts";
import { currentAttempt } from "./running_attempt.ts";

/** Options of one job; what is absent follows the task's own. */
export interface JobOptions {
  /** Not before this long from now. */
  readonly delay?: Duration;
  /** Not before this instant. */
  readonly eta?: Date;
  /** Given up if nobody has started it by then: a length of time from now, or an instant. */
  readonly expires?: Duration | Date;
  /** 0 to 10, higher first; without meaning on a quorum queue. */
  readonly priority?: number;
  /** Attempts after the first, 0 to 1000. */
  readonly retries?: number;
  /** Hard limit of one attempt; never longer than the task's. */
  readonly timeout?: Duration;
  /** Where it waits; default: the task's queue. */
  readonly queue?: string;
  /** Headers for the task. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** The same as it crosses to the main thread: instants are ISO 8601, durations as they were written. */
export interface PlainJobOptions extends Omit<JobOptions, "eta" | "expires"> {
  readonly eta?: string;
  readonly expires?: string;
}

/**
 * Accepts a job from within a task: it is durable once this resolves, and runs on any worker.
 * @param task what `task` returned, or a task's name.
 * @param input what the task is called with, as in a request: an array is the positional arguments.
 * @returns the job's id.
 * @throws Error when nobody ever served the task, an option makes no sense, or the broker is away (then
 *   named "BrokerAwayError").
 *
 * @example
 * for (const order of orders) await enqueue(sendInvoice, [order.id], { delay: "10m" });
 */
export async function enqueue(
  task: string | { readonly taskName: string },
  input?: unknown,
  { eta, expires, ...rest }: JobOptions = {},
): Promise<string> {
  const taskName = typeof task === "string" ? task : task.taskName;
  const fail = (reason: string) =>
    new Error(`Cannot enqueue a job of task ${JSON.stringify(taskName)}: ${reason}`);
  const attempt = currentAttempt();
  if (attempt === undefined) throw fail("no task is running here");
  const json: string | undefined = input === undefined ? "" : JSON.stringify(input);
  if (json === undefined) throw fail("its input must be what JSON carries");
  const options: PlainJobOptions = {
    ...rest,
    ...(eta === undefined ? {} : { eta: instant(eta, "eta", fail) }),
    ...(expires === undefined ? {} : {
      expires: typeof expires === "string" ? expires : instant(expires, "expires", fail),
    }),
  };
  const { id } = await attempt.services.ask(
    "jobs.enqueue",
    { task: taskName, options },
    json,
    attempt.facts,
  );
  return id;
}

function instant(date: Date, name: string, fail: (reason: string) => Error): string {
  if (date instanceof Date && !Number.isNaN(date.getTime())) return date.toISOString();
  throw fail(`${name} must be a valid Date, got ${String(date)}`);
}
