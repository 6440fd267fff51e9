/**
 * Ends jobs that nobody began to run before they expired: by the recorder's clock, for there may be no
 * worker that would.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Store } from "../../store/store.ts";
import type { Job } from "../job.ts";
import type { JobEvent } from "../job_event.ts";
import { isCelerys } from "./celery_jobs.ts";
import { expiredEvent } from "./due_jobs.ts";
import type { PatientLoop } from "./patient_loop.ts";

const log = getLogger(["coxswain", "recorder"]);

const LOOK_EVERY_MS = 1_000;
const PAGE = 200;
/**
 * A worker may start a job until the clocks' difference after its expiry, and what it tells of that
 * takes its time; a job is not to be called expired that runs.
 */
const MARGIN_MS = 2_500;

export interface OverdueOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** Whether all has been recorded that was told until a moment ago. */
  readonly isCaughtUp: () => Promise<boolean>;
  /** Told of each job that has expired, with the event that says so. */
  readonly recorded: (jobs: readonly Job[], events: readonly JobEvent[]) => void;
}

export class Overdue implements PatientLoop {
  readonly name = "Ending expired jobs";
  readonly alarm: Alarm;
  readonly #options: OverdueOptions;
  /** Those that are not ended here. */
  #celerys = 0;

  constructor(options: OverdueOptions) {
    this.#options = options;
    this.alarm = new Alarm(options.clock);
  }

  async turn(signal: AbortSignal): Promise<number> {
    const { store, clock, isCaughtUp, recorded } = this.#options;
    const overdue = await store.overdue(clock.now() - MARGIN_MS, PAGE + this.#celerys);
    // A Celery worker does not say that one runs: celery_watch.ts asks.
    const jobs = overdue.filter((job) => !isCelerys(job));
    this.#celerys = overdue.length - jobs.length;
    if (jobs.length === 0 || signal.aborted || !(await isCaughtUp())) return LOOK_EVERY_MS;
    const now = clock.now();
    const events = jobs.map((job) => expiredEvent(job, now));
    recorded(await store.recordEvents(events), events);
    log.debug("{count} jobs have expired", { count: jobs.length });
    return jobs.length < PAGE ? LOOK_EVERY_MS : 0;
  }
}
