/** The heavy kind of isolate: a process of its own, ended whatever its code does. */
import { type Command, spawnChild } from "../platform/child_process.ts";
import type { Isolate, IsolateEvents } from "./isolate.ts";

/** The hidden argument that makes the program run as an isolate (process_entry.ts). */
export const ISOLATE_PROCESS_ARGUMENT = "isolate-process";

/**
 * @param selfCommand the words that start this program again; the hidden argument is put behind them.
 */
export function openProcess(selfCommand: Command, events: IsolateEvents): Isolate {
  const child = spawnChild([...selfCommand, ISOLATE_PROCESS_ARGUMENT], {
    onMessage: (message) => {
      if (typeof message === "string") events.onMessage(message);
    },
    onExit: (exitCode, signal) =>
      events.onClose(
        signal === null
          ? `its process exited with code ${exitCode}`
          : `its process was ended by ${signal}`,
      ),
  });
  return { pid: child.pid, send: (text) => child.send(text), kill: () => child.kill() };
}
