/** A schedule: when a task is to be run by itself, as a job, once for the whole cluster. */
import { Cron } from "croner";
import { formatDuration, parseDuration } from "../lifecycle/duration.ts";
import { DefinitionError } from "./errors.ts";

export type ScheduleSpec =
  /** At each multiple of this many milliseconds since the epoch, so that all nodes agree. */
  | { readonly kind: "every"; readonly everyMs: number }
  /** `timeZone`: an IANA name; absent: UTC, since nodes may stand in different zones. */
  | { readonly kind: "cron"; readonly expression: string; readonly timeZone?: string };

/** Plain data: it crosses threads and the broker as JSON. */
export interface ScheduleDescriptor {
  /** Unique in the cluster: two workers that announce it mean one schedule. */
  readonly name: string;
  readonly spec: ScheduleSpec;
  readonly task: string;
  /** Input as JSON text, as in the body of a request. */
  readonly input: string;
  /** Where it is defined, for people. */
  readonly file: string;
}

export interface ScheduleOptions {
  /** Default: the task and its rhythm, such as "reports.daily cron 0 3 * * *". */
  readonly name?: string;
}

export interface CronOptions extends ScheduleOptions {
  /** An IANA name such as "Europe/Berlin". Default "UTC". */
  readonly timeZone?: string;
}

/** Shorter than a second, a schedule would be a load generator. */
const MIN_EVERY_MS = 1_000;
const MAX_NAME_LENGTH = 255;

/**
 * The first instant after `after` at which a schedule fires.
 * @param after epoch milliseconds.
 * @returns epoch milliseconds, or undefined where it never fires again (a cron expression with a year).
 */
export function nextFiringAt(spec: ScheduleSpec, after: number): number | undefined {
  switch (spec.kind) {
    case "every":
      return (Math.floor(after / spec.everyMs) + 1) * spec.everyMs;
    case "cron":
      return cronOf(spec).nextRun(new Date(after))?.getTime();
  }
}

/** In words, for names and lists: "every 30s", "cron 0 3 * * * Europe/Berlin". */
export function describeSpec(spec: ScheduleSpec): string {
  switch (spec.kind) {
    case "every":
      return `every ${formatDuration(spec.everyMs)}`;
    case "cron":
      return `cron ${spec.expression}${spec.timeZone === undefined ? "" : ` ${spec.timeZone}`}`;
  }
}

/**
 * @param duration such as "30s", at least one second.
 * @throws DefinitionError saying what was needed.
 */
export function readEvery(duration: string): ScheduleSpec {
  let everyMs: number;
  try {
    everyMs = parseDuration(duration);
  } catch (error) {
    throw new DefinitionError(error instanceof Error ? error.message : String(error));
  }
  if (everyMs < MIN_EVERY_MS) {
    throw new DefinitionError(`A schedule must be at least 1s apart, got "${duration}"`);
  }
  return { kind: "every", everyMs };
}

/**
 * @param expression five fields (minute, hour, day of month, month, day of week), or six with seconds
 *   before them, or a nickname such as "@daily".
 * @throws DefinitionError saying what was needed.
 */
export function readCron(expression: string, timeZone?: string): ScheduleSpec {
  const spec: ScheduleSpec = {
    kind: "cron",
    expression: expression.trim(),
    ...(timeZone === undefined ? {} : { timeZone }),
  };
  try {
    if (cronOf(spec).nextRun(new Date()) === null) throw new RangeError("it never fires");
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DefinitionError(
      `Cannot use the cron expression "${expression}"` +
        `${timeZone === undefined ? "" : ` in the time zone "${timeZone}"`}: ${why}`,
    );
  }
  return spec;
}

/**
 * Puts a schedule together and checks it.
 * @param input what JSON carries; undefined: no argument.
 * @throws DefinitionError naming the schedule and what was needed.
 */
export function describeSchedule(
  spec: ScheduleSpec,
  task: string,
  input: unknown,
  { name = `${task} ${describeSpec(spec)}` }: ScheduleOptions,
  file: string,
): ScheduleDescriptor {
  const fail = (reason: string) =>
    new DefinitionError(`Cannot define schedule ${JSON.stringify(name)} in ${file}: ${reason}`);
  if (typeof name !== "string" || name.trim() === "" || name.length > MAX_NAME_LENGTH) {
    throw fail(`its name must be a text of 1 to ${MAX_NAME_LENGTH} characters`);
  }
  if (typeof task !== "string" || task === "") throw fail("it needs the name of a task");
  const json: string | undefined = input === undefined ? "" : JSON.stringify(input);
  if (json === undefined) throw fail("its input must be what JSON carries");
  return { name, spec, task, input: json, file };
}

function cronOf({ expression, timeZone }: Extract<ScheduleSpec, { kind: "cron" }>): Cron {
  return new Cron(expression, { timezone: timeZone ?? "UTC", paused: true });
}
