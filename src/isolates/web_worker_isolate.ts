/** The common kind of isolate: a Web Worker, cheap and ended by `terminate()`. */
import type { Isolate, IsolateEvents } from "./isolate.ts";

/** The runtime's message may quote source lines of any length. */
const MAX_REASON_LENGTH = 1_000;

/**
 * @param entryUrl of entry.ts, made in main.ts: the compiler flattens modules, so that only there the
 *   same expression gives the right address from source and in the executable.
 */
export function openWebWorker(entryUrl: URL, events: IsolateEvents): Isolate {
  const worker = new Worker(entryUrl, { type: "module" });
  let failure: string | undefined;
  worker.addEventListener("message", ({ data }) => {
    if (typeof data === "string") events.onMessage(data);
  });
  // The entry tells errors of tasks itself; what comes here is an entry that could not be loaded. (Under
  // `bun test` errors that nobody caught come here too: there a Web Worker's own handlers are not
  // called.)
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    failure = event.message.slice(0, MAX_REASON_LENGTH);
  });
  worker.addEventListener("close", (event) => {
    const code: unknown = Reflect.get(event, "code");
    events.onClose(failure ?? `it exited with code ${String(code ?? 0)}`);
  });
  return {
    send: (text) => worker.postMessage(text),
    kill: () => worker.terminate(),
  };
}
