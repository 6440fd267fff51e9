/** Waits for the end of a job. */
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import { isFinal, type Job } from "./job.ts";
import type { JobLookup, LookedUp } from "./job_lookup.ts";
import type { JobWatcher, Watched } from "./watch.ts";

/** So often the record is read while its events cannot be had. */
const POLL_MS = 500;
/** How long the record may take to have what was told before somebody watched. */
const COMPLETION_MS = 1_000;
const COMPLETION_POLL_MS = 20;

export interface JobWaiterOptions {
  readonly lookup: Pick<JobLookup, "find">;
  readonly watcher: Pick<JobWatcher, "watch">;
  readonly clock?: Clock;
}

export type Waited = LookedUp | Extract<Watched, { kind: "too_many_watches" }>;

/**
 * The job as it is when it has ended, or when the wait is over.
 * @param waitMs 0: as it is now.
 * @param signal aborting ends the wait.
 */
export async function waitForEnd(
  id: string,
  waitMs: number,
  { lookup, watcher, clock = systemClock }: JobWaiterOptions,
  signal: AbortSignal,
): Promise<Waited> {
  const deadline = clock.monotonic() + waitMs;
  const first = await lookup.find(id, signal);
  if (first.kind !== "found" || isFinal(first.job.state) || waitMs <= 0) return first;
  const watched = await watcher.watch(id, signal);
  switch (watched.kind) {
    case "watched":
      break;
    case "broker_away":
      return await poll(id, deadline, lookup, clock, signal);
    default:
      return watched;
  }
  using watch = watched.watch;
  const over = Promise.withResolvers<void>();
  const timer = clock.after(Math.max(0, deadline - clock.monotonic()), () => over.resolve());
  const onAbort = () => over.resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  // While it was subscribed, perhaps.
  if (signal.aborted) onAbort();
  try {
    while (!isFinal(watch.job.state)) {
      const isChanged = await Promise.race([
        watch.changed().then(() => !watch.isClosed),
        over.promise.then(() => false),
      ]);
      if (!isChanged) break;
    }
  } finally {
    timer.cancel();
    signal.removeEventListener("abort", onAbort);
  }
  return { kind: "found", job: await completed(watch.job, lookup, clock, signal) };
}

/**
 * The job with all its attempts: one that ended after the record was read, and before its events were
 * heard, is in the record a moment later.
 */
async function completed(
  job: Job,
  lookup: Pick<JobLookup, "find">,
  clock: Clock,
  signal: AbortSignal,
): Promise<Job> {
  if (!isFinal(job.state) || hasAllAttempts(job)) return job;
  const deadline = clock.monotonic() + COMPLETION_MS;
  while (clock.monotonic() < deadline && !signal.aborted) {
    const found = await lookup.find(job.id, signal);
    if (found.kind !== "found") return job;
    if (isFinal(found.job.state)) return found.job;
    await new Promise<void>((resolve) => {
      clock.after(COMPLETION_POLL_MS, resolve);
    });
  }
  return job;
}

function hasAllAttempts({ attempt, firstAttempt, attempts }: Job): boolean {
  const told = new Set(attempts.map((run) => run.attempt));
  for (let number = firstAttempt; number < attempt; number++) if (!told.has(number)) return false;
  return true;
}

async function poll(
  id: string,
  deadline: number,
  lookup: Pick<JobLookup, "find">,
  clock: Clock,
  signal: AbortSignal,
): Promise<LookedUp> {
  while (true) {
    const found = await lookup.find(id, signal);
    const leftMs = deadline - clock.monotonic();
    if (found.kind !== "found" || isFinal(found.job.state) || leftMs <= 0 || signal.aborted) {
      return found;
    }
    await new Promise<void>((resolve) => {
      clock.after(Math.min(leftMs, POLL_MS), resolve);
    });
  }
}
