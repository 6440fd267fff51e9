/** The setting `schedules`: jobs that run by the clock. All that is wrong with it is found. */
import { DefinitionError } from "../tasks/errors.ts";
import {
  describeSchedule,
  readCron,
  readEvery,
  type ScheduleDescriptor,
  type ScheduleSpec,
} from "../tasks/schedule.ts";
import type { Fault, StructureReader } from "./setting.ts";

const KNOWN: readonly string[] = ["task", "every", "cron", "timeZone", "input", "name"];
/** Where such a schedule is defined, for people. */
const FILE = "settings";

export const schedulesReader: StructureReader<readonly ScheduleDescriptor[]> = {
  metavar: "JSON",
  expected: 'an array such as [{"task": "reports.daily", "cron": "0 3 * * *"}]',
  read(given) {
    if (!Array.isArray(given)) {
      return { faults: [{ path: [], message: `expected ${this.expected}` }] };
    }
    const read = given.map((value: unknown, index) => readOne(value, String(index)));
    const schedules = read.flatMap((one) => "schedule" in one ? [one.schedule] : []);
    const faults = [
      ...read.flatMap((one) => "faults" in one ? one.faults : []),
      ...doubles(schedules),
    ];
    return faults.length > 0 ? { faults } : { value: schedules };
  },
};

type One = { readonly schedule: ScheduleDescriptor } | { readonly faults: readonly Fault[] };

function readOne(value: unknown, index: string): One {
  const fault = (message: string, ...path: string[]): One => ({
    faults: [{ path: [index, ...path], message }],
  });
  if (!isRecord(value)) return fault('expected an object such as {"task": "tidy", "every": "1h"}');
  const strange = Object.keys(value).find((key) => !KNOWN.includes(key));
  if (strange !== undefined) {
    return fault(`no such member: there are ${KNOWN.join(", ")}`, strange);
  }
  const { task, every, cron, timeZone, input, name } = value;
  for (const [key, text] of Object.entries({ task, every, cron, timeZone, name })) {
    if (text !== undefined && typeof text !== "string") return fault("expected a text", key);
  }
  if (typeof task !== "string") return fault("expected the name of a task", "task");
  try {
    const spec = specOf(every, cron, timeZone);
    if (spec === undefined) return fault("expected one of every and cron, and timeZone with cron");
    const options = typeof name === "string" ? { name } : {};
    return { schedule: describeSchedule(spec, task, input, options, FILE) };
  } catch (error) {
    if (error instanceof DefinitionError) return fault(error.message);
    throw error;
  }
}

/** @throws DefinitionError */
function specOf(every: unknown, cron: unknown, timeZone: unknown): ScheduleSpec | undefined {
  if (typeof every === "string") {
    return cron === undefined && timeZone === undefined ? readEvery(every) : undefined;
  }
  if (typeof cron !== "string") return undefined;
  return readCron(cron, typeof timeZone === "string" ? timeZone : undefined);
}

function doubles(schedules: readonly ScheduleDescriptor[]): readonly Fault[] {
  const seen = new Set<string>();
  return schedules.flatMap(({ name }) => {
    if (!seen.has(name)) {
      seen.add(name);
      return [];
    }
    return [{ path: [], message: `two schedules are called ${JSON.stringify(name)}: name them` }];
  });
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
