/** What tasks log, in the node's own log: one line an event, with the isolate and the task. */
import { getLogger } from "@logtape/logtape";
import type { TaskLogLine } from "../isolates/pool.ts";

const log = getLogger(["coxswain", "task"]);

/** Writes one line of a task. */
export function taskLogger({ level, message, fields, ...origin }: TaskLogLine): void {
  log[level](message, { ...fields, ...origin });
}
