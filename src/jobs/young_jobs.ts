/**
 * Jobs that this node has accepted a moment ago: their events are still on the way to the recorder, and
 * whoever has just been told an id may ask for it. Bounded by age, count and size.
 */
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import { createdAtOf } from "../platform/ids.ts";
import type { Job } from "./job.ts";
import type { BeginningEvent, JobRequest } from "./job_event.ts";
import { applyEvent } from "./states.ts";

/** The recorder takes milliseconds; it may be starting anew, or a long way behind. */
const KEPT_MS = 20_000;
const MAX_KEPT = 20_000;
/** Characters of JSON text: a larger input is told once the record is there. */
const MAX_INPUT_CHARACTERS = 512;

interface Young {
  readonly event: BeginningEvent;
  readonly hasPayload: boolean;
  readonly until: number;
}

const NOT_KEPT: JobRequest["payload"] = {
  input: { argsJson: "", kwargsJson: "" },
  headers: {},
};

export class YoungJobs {
  readonly #clock: Clock;
  /** In the order of their ages. */
  readonly #events = new Map<string, Young>();

  constructor(clock: Clock = systemClock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#events.size;
  }

  /** Keeps what a job began with, for some seconds. */
  remember(event: BeginningEvent): void {
    const now = this.#clock.monotonic();
    for (const [id, { until }] of this.#events) {
      if (until > now && this.#events.size < MAX_KEPT) break;
      this.#events.delete(id);
    }
    const { terms, payload: { input } } = event.request;
    const hasPayload = input.argsJson.length + input.kwargsJson.length <= MAX_INPUT_CHARACTERS;
    this.#events.set(event.id, {
      event: hasPayload ? event : { ...event, request: { terms, payload: NOT_KEPT } },
      hasPayload,
      until: now + KEPT_MS,
    });
  }

  /** Its record is there: what it was is history. */
  forget(id: string): void {
    this.#events.delete(id);
  }

  /** The job as it was when it was accepted, or undefined. */
  get(id: string): Job | undefined {
    const young = this.#events.get(id);
    if (young === undefined || young.until <= this.#clock.monotonic()) return undefined;
    const job = applyEvent(undefined, young.event);
    if (young.hasPayload) return job;
    const { payload: _notKept, ...rest } = job;
    return rest;
  }
}

/** Whether a job of this id may have been accepted, by whomever, within the last `withinMs`. */
export function isYoung(id: string, now: number, withinMs: number): boolean {
  const createdAt = createdAtOf(id);
  return createdAt !== undefined && Math.abs(now - createdAt) <= withinMs;
}
