/** `every` and `cron`, as task files call them. */
import { definingFile } from "./defining_file.ts";
import { registry } from "./registry.ts";
import {
  type CronOptions,
  describeSchedule,
  readCron,
  readEvery,
  type ScheduleOptions,
  type ScheduleSpec,
} from "./schedule.ts";
import { DefinitionError } from "./errors.ts";
import type { Duration } from "./options.ts";

/** What a schedule names: a defined task, or any task by its name. */
export type Schedulable = string | { readonly taskName: string };

/**
 * Runs a task as a job again and again: once for the whole cluster however many workers announce it,
 * as long as one of them does. Only at the top of a task file.
 *
 * @param interval at least "1s". It fires at the multiples of it since 1970 in UTC ("1h": on the hour).
 * @param task what `task` returned, or the name of a task that runs anywhere.
 * @param input what the task is called with, as in a request: an array is the positional arguments.
 * @throws DefinitionError when something cannot be used, or the name is taken.
 *
 * @example
 * every("30s", cleanUp);
 */
export function every(
  interval: Duration,
  task: Schedulable,
  input?: unknown,
  options: ScheduleOptions = {},
): void {
  add(every, () => readEvery(interval), task, input, options);
}

/**
 * Runs a task as a job by the clock: once for the whole cluster. Only at the top of a task file.
 *
 * @param expression five fields (minute, hour, day of month, month, day of week), six with seconds
 *   first, or a nickname such as "@daily".
 * @param task what `task` returned, or the name of a task that runs anywhere.
 * @param input what the task is called with, as in a request.
 * @throws DefinitionError when something cannot be used, or the name is taken.
 *
 * @example
 * cron("0 3 * * *", nightlyReport, { kind: "full" }, { timeZone: "Europe/Berlin" });
 */
export function cron(
  expression: string,
  task: Schedulable,
  input?: unknown,
  { timeZone, ...options }: CronOptions = {},
): void {
  add(cron, () => readCron(expression, timeZone), task, input, options);
}

function add(
  callee: (...args: never[]) => unknown,
  read: () => ScheduleSpec,
  task: Schedulable,
  input: unknown,
  options: ScheduleOptions,
): void {
  const file = definingFile(callee);
  const taskName = typeof task === "string" ? task : task?.taskName;
  let spec: ScheduleSpec;
  try {
    spec = read();
  } catch (error) {
    if (!(error instanceof DefinitionError)) throw error;
    throw new DefinitionError(
      `Cannot schedule task ${JSON.stringify(taskName)} in ${file}: ${error.message}`,
    );
  }
  registry.addSchedule(describeSchedule(spec, taskName, input, options, file));
}
