/** `app job watch`: follows a job's event stream to its end, across lost connections. */
import type { RecordsConfig } from "../config/config.ts";
import { readEventStream, type StreamEvent } from "./event_stream.ts";
import { EXIT } from "./exit_code.ts";
import type { FrontClient } from "./front_client.ts";
import { exitCodeOf, isEnded, progressBar, recordOf, stateLine } from "./job_text.ts";
import { type Output, printable } from "./output.ts";
import { StartupError } from "./startup_error.ts";

/** How often a lost connection is made anew in a row before it is given up. */
const MAX_RECONNECTS = 10;
const PAUSE_MS = 1_000;
/** Back to the line's beginning, and clear it. */
const CLEAR_LINE = "\r\x1b[K";

export interface WatchScene {
  readonly config: Pick<RecordsConfig, "json">;
  readonly front: Pick<FrontClient, "request" | "text">;
  readonly output: Output;
  readonly interrupt: AbortSignal;
}

/** @returns the exit code of the job's end. @throws StartupError when it cannot be followed. */
export async function watchJob(id: string, scene: WatchScene): Promise<number> {
  const { interrupt } = scene;
  const path = `/jobs/${encodeURIComponent(id)}/events`;
  const show = shower(scene);
  let lastId = "";
  for (let lost = 0; lost <= MAX_RECONNECTS; lost++) {
    try {
      for await (const event of follow(path, lastId, scene)) {
        lost = 0;
        lastId = event.id;
        const { state } = show(event);
        if (isEnded(state)) return exitCodeOf(state);
      }
    } catch (error) {
      if (interrupt.aborted) return EXIT.interrupted;
      // The first connection must come about; a later one may be lost, and is made anew.
      if (lastId === "" || isRefusal(error)) throw error;
    }
    if (interrupt.aborted) return EXIT.interrupted;
    await pause(interrupt);
  }
  throw new StartupError(`Job ${id} cannot be followed: its front is gone`, {
    exitCode: EXIT.noBroker,
  });
}

async function* follow(
  path: string,
  lastId: string,
  { front, interrupt }: WatchScene,
): AsyncGenerator<StreamEvent> {
  const headers: Record<string, string> = lastId === "" ? {} : { "last-event-id": lastId };
  const response = await front.request(path, { headers, signal: interrupt });
  if (!response.ok) {
    await response.body?.cancel();
    // Told as every refusal is.
    await front.text(path);
  }
  if (response.body !== null) yield* readEventStream(response.body);
}

/** A front that answers and says no will say so again. */
function isRefusal(error: unknown): boolean {
  return error instanceof StartupError && error.exitCode === EXIT.wrongUsage;
}

/** Prints events: JSON as it came, a bar that moves on a terminal, else a line each. */
function shower(
  { config, output }: WatchScene,
): (event: StreamEvent) => { readonly state?: unknown } {
  let hasBar = false;
  const line = (text: string) => {
    output.print(`${hasBar ? CLEAR_LINE : ""}${printable(text)}\n`);
    hasBar = false;
  };
  return ({ event, data }) => {
    if (data === undefined) return {};
    const told = recordOf(JSON.parse(data));
    if (config.json) {
      output.print(`${JSON.stringify({ event, data: told })}\n`);
    } else if (event === "state") {
      line(stateLine(told));
    } else if (!output.isTerminal) {
      line(progressBar(told));
    } else {
      output.print(`${CLEAR_LINE}${printable(progressBar(told))}`);
      hasBar = true;
    }
    return event === "state" ? { state: told["state"] } : {};
  };
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, PAUSE_MS);
    signal.addEventListener("abort", done, { once: true });
  });
}
