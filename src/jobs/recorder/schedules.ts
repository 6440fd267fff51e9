/**
 * Fires schedules that nodes announce: once for the whole cluster, by the store. One recorder does it,
 * under the lease.
 *
 * A firing that was missed is caught up once, however many were; one whose last job has not ended is
 * skipped, so that slow jobs never pile up; a schedule that nobody announces any more stops.
 */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import { destinationOf, NO_ROUTES, type TaskRoutes } from "../../nodes/routes.ts";
import { newId } from "../../platform/ids.ts";
import type { Store, StoredSchedule } from "../../store/store.ts";
import type { TaskDescriptor } from "../../tasks/descriptor.ts";
import { nextFiringAt, type ScheduleDescriptor } from "../../tasks/schedule.ts";
import { isFinal } from "../job.ts";
import { problemOfSchedule, scheduledJob, UNANNOUNCED_AFTER_MS } from "../schedules.ts";
import type { PatientLoop } from "./patient_loop.ts";

const log = getLogger(["coxswain", "recorder"]);

/** Operators pause and resume by any front. */
const LOOK_EVERY_MS = 1_000;
/** That somebody announces a schedule is noted so often. */
const RENEW_MS = 60_000;

/** What was done so far ahead of now was done before the clock was set back. */
const SET_BACK_MS = 60_000;

/** What nodes have announced; `NodesChannel` is one. */
export interface AnnouncedSchedules {
  schedules(): readonly ScheduleDescriptor[];
  descriptor(task: string): TaskDescriptor | undefined;
}

export interface SchedulesOptions {
  readonly store: Store;
  readonly nodes: AnnouncedSchedules;
  /** Default: none. */
  readonly routes?: TaskRoutes;
  readonly clock: Clock;
  /** A job was made that is due at once. */
  readonly made: () => void;
}

export class Schedules implements PatientLoop {
  readonly name = "Firing schedules";
  readonly alarm: Alarm;
  readonly #options: SchedulesOptions;
  /** What was announced to the store last, and when. */
  #announced = "[]";
  #announcedAt = -Infinity;
  /** Since when this node would have heard of schedules. */
  #begunAt = 0;
  readonly #passedOver = new Set<string>();

  constructor(options: SchedulesOptions) {
    this.#options = options;
    this.alarm = new Alarm(options.clock);
  }

  /** The lease was taken anew. */
  begin(): void {
    this.#begunAt = this.#options.clock.now();
    this.#announcedAt = -Infinity;
  }

  async turn(signal: AbortSignal): Promise<number> {
    const { store, clock } = this.#options;
    const announced = this.#options.nodes.schedules().filter((schedule) =>
      this.#isUsable(schedule)
    );
    await this.#announce(announced);
    const names = new Set(announced.map(({ name }) => name));
    let pauseMs = LOOK_EVERY_MS;
    for (const schedule of await store.schedules()) {
      if (signal.aborted) return 0;
      const { name, isPaused, nextAt } = schedule;
      if (isPaused || nextAt === undefined) continue;
      const now = clock.now();
      if (!names.has(name) && this.#isForgotten(schedule, now)) await this.#stop(schedule);
      else if (nextAt > now) {
        pauseMs = Math.min(pauseMs, await this.#nextIn(schedule, nextAt, now));
      } else if (names.has(name) || now - schedule.announcedAt < UNANNOUNCED_AFTER_MS) {
        // One that is no more should not fire in the moment before its workers have told so.
        await this.#fire(schedule, nextAt, now);
        pauseMs = 0;
      }
    }
    return pauseMs;
  }

  #isUsable(schedule: ScheduleDescriptor): boolean {
    const problem = problemOfSchedule(schedule);
    if (problem === undefined) return true;
    const { name, file } = schedule;
    if (!this.#passedOver.has(name)) {
      log.error("Schedule {name} cannot be used: {problem}", { name, problem, file });
      this.#passedOver.add(name);
    }
    return false;
  }

  async #announce(announced: readonly ScheduleDescriptor[]): Promise<void> {
    const { store, clock } = this.#options;
    const now = clock.now();
    const text = JSON.stringify(announced);
    if (text === this.#announced && now - this.#announcedAt < RENEW_MS) return;
    if (announced.length > 0) {
      await store.announceSchedules(announced.map((schedule) => {
        const nextAt = nextFiringAt(schedule.spec, now);
        return { ...schedule, announcedAt: now, ...(nextAt === undefined ? {} : { nextAt }) };
      }));
    }
    this.#announced = text;
    this.#announcedAt = now;
  }

  #isForgotten({ announcedAt }: StoredSchedule, now: number): boolean {
    return now - Math.max(announcedAt, this.#begunAt) >= UNANNOUNCED_AFTER_MS;
  }

  /**
   * Until its next firing, in milliseconds. Where the clock was set back, that would be as long after its
   * time as the clock was wrong: it is reckoned anew.
   */
  async #nextIn(schedule: StoredSchedule, nextAt: number, now: number): Promise<number> {
    const { name, spec, task, announcedAt, lastFiredAt = -Infinity } = schedule;
    const soonest = nextFiringAt(spec, now);
    const isSetBack = Math.max(announcedAt, lastFiredAt) > now + SET_BACK_MS;
    if (!isSetBack || soonest === undefined || soonest >= nextAt) return nextAt - now;
    log.warn("The clock was set back: schedule {name} fires next at {at}", {
      name,
      task,
      at: new Date(soonest).toISOString(),
    });
    await this.#options.store.pauseSchedule(name, false, soonest);
    return soonest - now;
  }

  /** When somebody announces it again it goes on, from then on. */
  async #stop({ name, task }: StoredSchedule): Promise<void> {
    if (!(await this.#options.store.pauseSchedule(name, false, undefined))) return;
    log.warn("Schedule {name} has stopped: no node announces it any more", { name, task });
  }

  async #fire(schedule: StoredSchedule, dueAt: number, now: number): Promise<void> {
    const { store, nodes, routes = NO_ROUTES, made } = this.#options;
    const { name, spec, task, lastJobId } = schedule;
    const nextAt = nextFiringAt(spec, now);
    const [last] = lastJobId === undefined ? [] : await store.getMany([lastJobId]);
    if (last !== undefined && !isFinal(last.state)) {
      if (!(await store.fireSchedule(name, dueAt, nextAt, undefined))) return;
      log.warn("Schedule {name} passes a firing over: its last job has not ended", {
        name,
        task,
        jobId: last.id,
        state: last.state,
      });
      return;
    }
    const id = newId();
    const job = scheduledJob(schedule, {
      id,
      now,
      firesAt: dueAt,
      destination: destinationOf(task, undefined, nodes.descriptor(task), routes),
    });
    if (!(await store.fireSchedule(name, dueAt, nextAt, job))) return;
    log.debug("Schedule {name} has fired", { name, task, jobId: id, lateMs: now - dueAt });
    made();
  }
}
