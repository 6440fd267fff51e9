/** What the program does when it is started as a process isolate, by ISOLATE_PROCESS_ARGUMENT. */
import { parentChannel } from "../platform/child_process.ts";
import { serveIsolate } from "./inside.ts";

/**
 * Serves the parent until it goes away, then ends this process.
 * @throws Error when a person started it: there is no channel to a parent.
 */
export function runIsolateProcess(): void {
  serveIsolate(parentChannel());
}
