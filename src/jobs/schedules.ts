/** Schedules as jobs and lists know them: pure. Who fires them is recorder/schedules.ts. */
import { parseInput } from "../calls/input.ts";
import { CELERY_REPLIES_QUEUE, DEFAULT_QUEUE } from "../broker/topology.ts";
import type { Destination } from "../nodes/routes.ts";
import type { StoredSchedule } from "../store/store.ts";
import { describeSpec, nextFiringAt, type ScheduleDescriptor } from "../tasks/schedule.ts";
import type { BeginningEvent } from "./job_event.ts";

/** A schedule that no node announces for so long has stopped: a deploy or a restart takes less. */
export const UNANNOUNCED_AFTER_MS = 5 * 60_000;

/**
 * - active: it fires at `nextAt`.
 * - paused: an operator wants it not to fire now.
 * - stopped: no node announces it any more.
 * - ended: its rhythm has no further instant.
 */
export type ScheduleState = "active" | "paused" | "stopped" | "ended";

/** A schedule for people: an element of `GET /schedules`. Instants in epoch milliseconds. */
export interface ScheduleView {
  readonly name: string;
  readonly task: string;
  /** Such as "every 30s". */
  readonly rhythm: string;
  readonly input: string;
  readonly file: string;
  readonly state: ScheduleState;
  readonly announcedAt: number;
  readonly nextAt?: number;
  readonly lastFiredAt?: number;
  readonly lastJobId?: string;
}

export function viewSchedule(schedule: StoredSchedule, now: number): ScheduleView {
  const { name, task, spec, input, file, announcedAt, nextAt, lastFiredAt, lastJobId } = schedule;
  const state = scheduleState(schedule, now);
  return {
    name,
    task,
    rhythm: describeSpec(spec),
    input,
    file,
    state,
    announcedAt,
    ...(nextAt === undefined || state !== "active" ? {} : { nextAt }),
    ...(lastFiredAt === undefined ? {} : { lastFiredAt }),
    ...(lastJobId === undefined ? {} : { lastJobId }),
  };
}

function scheduleState({ isPaused, nextAt, spec }: StoredSchedule, now: number): ScheduleState {
  if (isPaused) return "paused";
  if (nextAt !== undefined) return "active";
  return nextFiringAt(spec, now) === undefined ? "ended" : "stopped";
}

/** Why a schedule that somebody announced cannot be used; undefined where it can. */
export function problemOfSchedule({ spec, input }: ScheduleDescriptor): string | undefined {
  try {
    nextFiringAt(spec, 0);
    parseInput(input);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/**
 * The job of one firing, due at once.
 * @param firesAt the instant that it fires for; absent where an operator runs it now.
 * @param destination where the task is; undefined: neither a worker nor a route has told so.
 */
export function scheduledJob(
  { name, task, input }: Pick<StoredSchedule, "name" | "task" | "input">,
  { id, now, firesAt, destination }: {
    readonly id: string;
    readonly now: number;
    readonly firesAt?: number;
    readonly destination: Destination | undefined;
  },
): BeginningEvent {
  return {
    kind: "scheduled",
    id,
    task,
    queue: destination?.queue ?? DEFAULT_QUEUE,
    createdAt: now,
    attempt: 1,
    seq: Math.floor(now),
    at: now,
    dueAt: now,
    request: {
      terms: destination?.isOurs === false ? { replyTo: CELERY_REPLIES_QUEUE.name } : {},
      payload: {
        input: parseInput(input),
        headers: {
          "x-schedule": name,
          ...(firesAt === undefined ? {} : { "x-schedule-at": new Date(firesAt).toISOString() }),
        },
      },
    },
  };
}
