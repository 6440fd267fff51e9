/** The setting `routes`: which tasks go to which queue. All that is wrong with it is found. */
import { problemOfName, problemOfQueue } from "../reserved_names.ts";
import type { RouteConfig } from "./config.ts";
import type { Fault, StructureReader } from "./setting.ts";

const KNOWN: readonly string[] = ["queue"];

export const routesReader: StructureReader<readonly RouteConfig[]> = {
  metavar: "JSON",
  expected: 'an object of patterns and queues such as {"reports.*": {"queue": "celery"}}',
  read(given) {
    if (!isRecord(given)) return { faults: [{ path: [], message: `expected ${this.expected}` }] };
    const read = Object.entries(given).map(([pattern, value]) => readOne(pattern, value));
    const faults = read.flatMap((one) => "faults" in one ? one.faults : []);
    return faults.length > 0
      ? { faults }
      : { value: read.flatMap((one) => "route" in one ? [one.route] : []) };
  },
};

type One = { readonly route: RouteConfig } | { readonly faults: readonly Fault[] };

/** `"celery"` is short for `{"queue": "celery"}`. */
function readOne(pattern: string, value: unknown): One {
  const faults: Fault[] = [];
  const problem = problemOfName(pattern);
  if (problem !== undefined) faults.push({ path: [pattern], message: `the pattern ${problem}` });
  const { queue, ...strange } = isRecord(value) ? value : { queue: value };
  const path = isRecord(value) ? [pattern, "queue"] : [pattern];
  const fault = typeof queue === "string"
    ? problemOfQueue(queue)
    : "must be the name of a queue, a text";
  if (fault !== undefined) {
    const shown = queue === undefined ? {} : { value: JSON.stringify(queue) };
    faults.push({ path, ...shown, message: `the queue ${fault}` });
  }
  for (const key of Object.keys(strange)) {
    faults.push({ path: [pattern, key], message: `no such member: there is ${KNOWN.join(", ")}` });
  }
  if (faults.length > 0 || typeof queue !== "string") return { faults };
  return { route: { pattern, queue } };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
