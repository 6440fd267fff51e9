/** `app job`, `app dead-letters` and `app schedules`: asks a front, and shows what it says. */
import type { RecordsConfig } from "../config/config.ts";
import { formatDuration } from "../lifecycle/duration.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit_code.ts";
import { FrontClient } from "./front_client.ts";
import { exitCodeOf, isEnded, jobText, recordOf, type ShownRecord } from "./job_text.ts";
import {
  JOB_HEADINGS,
  jobRow,
  LETTER_HEADINGS,
  letterRow,
  SCHEDULE_HEADINGS,
  scheduleRow,
} from "./job_text.ts";
import { watchJob } from "./job_watch.ts";
import { type Output, printable } from "./output.ts";
import { indentJson } from "./ending_text.ts";
import { StartupError } from "./startup_error.ts";
import { listOf, type Row, tableOf } from "./table.ts";

export interface RecordsSurroundings {
  /** All of standard input; asked for only where the input is "-". */
  readonly readStdin: () => Promise<string>;
  /** Aborts when the operator gives up. */
  readonly interrupt: AbortSignal;
}

interface Scene extends RecordsSurroundings {
  readonly config: RecordsConfig;
  readonly front: FrontClient;
  readonly output: Output;
}

/** @throws StartupError when the front cannot be asked, or refuses. */
export async function runRecords(
  { config, action }: Extract<Command, { kind: "records" }>,
  output: Output,
  surroundings: RecordsSurroundings,
): Promise<number> {
  const scene: Scene = { ...surroundings, config, output, front: new FrontClient(config.target) };
  const { front } = scene;
  switch (action.kind) {
    case "submit":
      return await submit(scene, action.task, action.input);
    case "get":
      return await get(scene, action.id);
    case "cancel":
      return tell(
        scene,
        await front.text(jobPath(action.id), { method: "DELETE" }),
        ({ did, state }) => CANCEL_TEXTS[`${did}`] ?? `Job ${action.id} is ${state}.`,
      );
    case "retry":
      return tell(
        scene,
        await front.text(`${jobPath(action.id)}/retry`, { method: "POST" }),
        () => `Job ${action.id} is tried again.`,
      );
    case "watch":
      return await watchJob(action.id, scene);
    case "list_jobs":
      return await list(scene, `/jobs?${listQuery(config)}`, "jobs", JOB_HEADINGS, jobRow);
    case "list_letters":
      return await list(
        scene,
        `/dead-letters?${listQuery(config)}`,
        "dead letters",
        LETTER_HEADINGS,
        letterRow,
      );
    case "show_letter":
      return tell(scene, await front.text(letterPath(action.id)), jobText, "");
    case "retry_letters":
      return tell(
        scene,
        await front.text(
          action.id === undefined
            ? `/dead-letters/retry${taskQuery(config)}`
            : `${letterPath(action.id)}/retry`,
          { method: "POST" },
        ),
        ({ retried }) =>
          action.id === undefined
            ? `${retried} dead letters are tried again.`
            : `Job ${action.id} is tried again.`,
      );
    case "purge_letters":
      return tell(
        scene,
        await front.text(
          action.id === undefined ? `/dead-letters${taskQuery(config)}` : letterPath(action.id),
          { method: "DELETE" },
        ),
        ({ deleted }) => `${deleted} dead letters are gone.`,
      );
    case "list_schedules":
      return await list(scene, "/schedules", "schedules", SCHEDULE_HEADINGS, scheduleRow);
    case "steer_schedule": {
      const { name } = action;
      const path = `/schedules/${encodeURIComponent(name)}/${action.action}`;
      return tell(
        scene,
        await front.text(path, { method: "POST" }),
        ({ id, state }) =>
          action.action === "run"
            ? `Schedule "${name}" has made job ${id}.`
            : `Schedule "${name}" is ${state}.`,
      );
    }
  }
}

const CANCEL_TEXTS: Readonly<Record<string, string>> = {
  cancelled: "The job is cancelled: it will not run.",
  stopping: "The job runs, and is being stopped.",
  nothing: "The job had ended before: nothing was done.",
};

async function submit(scene: Scene, task: string, input: string | undefined): Promise<number> {
  const { config: { options, json, waitMs }, front, output, readStdin } = scene;
  const { delayMs, expiresMs, timeoutMs, eta, retries, priority, queue, unique } = options;
  const query = new URLSearchParams({
    ...(delayMs === undefined ? {} : { delay: formatDuration(delayMs) }),
    ...(expiresMs === undefined ? {} : { expires: formatDuration(expiresMs) }),
    ...(timeoutMs === undefined ? {} : { timeout: formatDuration(timeoutMs) }),
    ...(eta === undefined ? {} : { eta }),
    ...(retries === undefined ? {} : { retries: `${retries}` }),
    ...(priority === undefined ? {} : { priority: `${priority}` }),
    ...(queue === undefined ? {} : { queue }),
    ...(unique === undefined ? {} : { unique }),
  });
  const accepted = await front.text(`/tasks/${encodeURIComponent(task)}/jobs?${query}`, {
    method: "POST",
    headers: {
      ...options.headers,
      "content-type": "application/json",
      ...(options.idempotencyKey === undefined
        ? {}
        : { "idempotency-key": options.idempotencyKey }),
    },
    body: checkedInput(input === "-" ? await readStdin() : input ?? ""),
  });
  const { id } = parsed(accepted, scene);
  if (waitMs === undefined) {
    output.print(`${json ? accepted.trim() : String(id)}\n`);
    return EXIT.well;
  }
  const text = await front.text(`${jobPath(String(id))}?wait=${formatDuration(waitMs)}`);
  const job = parsed(text, scene);
  if (json) output.print(`${text.trim()}\n`);
  else if (job["state"] === "succeeded") {
    const result = JSON.stringify(job["result"]) ?? "null";
    output.print(`${output.isTerminal ? indentJson(result) : result}\n`);
  } else output.printError(printable(jobText(job)));
  return exitCodeOf(job["state"]);
}

/** Its exit code tells of the job's end only where that was waited for. */
async function get(scene: Scene, id: string): Promise<number> {
  const { config: { waitMs, json }, front, output } = scene;
  const query = waitMs === undefined ? "" : `?wait=${formatDuration(waitMs)}`;
  const text = await front.text(`${jobPath(id)}${query}`);
  const job = parsed(text, scene);
  output.print(json ? `${text.trim()}\n` : printable(jobText(job)));
  if (waitMs === undefined) return EXIT.well;
  if (!isEnded(job["state"])) output.printError("The job has not ended within --wait.\n");
  return exitCodeOf(job["state"]);
}

async function list(
  { config, front, output }: Scene,
  path: string,
  what: string,
  headings: Row,
  rowOf: (element: ShownRecord) => Row,
): Promise<number> {
  const response = await front.request(path);
  // Refusals are told the same way wherever they come.
  const text = response.ok ? await response.text() : await front.text(path);
  if (config.json) output.print(`${text.trim()}\n`);
  else {
    const rows = listOf(text, what, config.target.url).map(rowOf);
    output.print(rows.length === 0 ? `No ${what}.\n` : printable(tableOf(headings, rows)));
  }
  const next = /[?&]cursor=([^&>]+)[^>]*>; rel="next"/.exec(response.headers.get("link") ?? "")
    ?.[1];
  if (next !== undefined) {
    output.printError(`There are more: --cursor ${decodeURIComponent(next)}\n`);
  }
  return EXIT.well;
}

function tell(
  scene: Scene,
  text: string,
  say: (answer: ShownRecord) => string,
  end = "\n",
): number {
  const { config: { json }, output } = scene;
  output.print(json ? `${text.trim()}\n` : printable(`${say(parsed(text, scene))}${end}`));
  return EXIT.well;
}

function parsed(text: string, { config }: Scene): ShownRecord {
  try {
    return recordOf(JSON.parse(text));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new StartupError(`What answers at ${config.target.url} is no front: ${error.message}`, {
      cause: error,
    });
  }
}

function checkedInput(text: string): string {
  if (text.trim() === "") return "";
  try {
    JSON.parse(text);
    return text;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new StartupError(
      `Cannot read the input as JSON: ${error.message}. ` +
        `A text needs its quotes within the shell's: '"text"'.`,
      { cause: error },
    );
  }
}

function jobPath(id: string): string {
  return `/jobs/${encodeURIComponent(id)}`;
}

function letterPath(id: string): string {
  return `/dead-letters/${encodeURIComponent(id)}`;
}

function taskQuery({ filter: { task } }: RecordsConfig): string {
  return task === undefined ? "" : `?${new URLSearchParams({ task })}`;
}

function listQuery({ mode, filter }: RecordsConfig): URLSearchParams {
  const { states, task, limit, cursor } = filter;
  return new URLSearchParams({
    ...(mode !== "job" || states.length === 0 ? {} : { state: states.join(",") }),
    ...(task === undefined ? {} : { task }),
    limit: `${limit}`,
    ...(cursor === undefined ? {} : { cursor }),
  });
}
