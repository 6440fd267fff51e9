/** `GET /jobs/{id}/events`: one job as an event stream, from what it is now to its end. */
import type { Hono } from "hono";
import { type EventOrder, isFinal, type Job } from "../../jobs/job.ts";
import { compareOrder } from "../../jobs/job_event.ts";
import type { JobWatch, JobWatcher } from "../../jobs/watch.ts";
import type { AppEnv, Fail } from "../exchange.ts";
import { type JobFormat, jobJson, progressOf } from "../job_format.ts";
import { jobId, lookupProblem } from "./jobs.ts";

export interface JobEventRoutes {
  readonly watcher: Pick<JobWatcher, "watch">;
  readonly format: JobFormat;
  readonly fail: Fail;
}

/** A stream that is silent for longer is taken for dead by proxies. */
const KEEP_ALIVE_MS = 15_000;
/** What a browser waits before it connects again, in milliseconds. */
const RETRY_MS = 1_000;
const encoder = new TextEncoder();
const KEEP_ALIVE = encoder.encode(": still here\n\n");
const OPENING = encoder.encode(`retry: ${RETRY_MS}\n\n`);

/**
 * Events: `state`, whose data is the job as `GET /jobs/{id}` shows it, first as it is and then whenever
 * its state or attempt changes; `progress`, whose data is `{fraction, message, at, attempt}`. Ids are
 * `attempt.seq`: who comes back with the last one as `Last-Event-ID` gets what is newer. The stream ends
 * after the job's end; who has seen that already is answered 204, at which browsers stop coming back.
 */
export function addJobEventsRoute(app: Hono<AppEnv>, routes: JobEventRoutes): void {
  const { watcher, format, fail } = routes;

  app.get("/jobs/:id/events", async (c) => {
    const request = c.req.raw;
    const id = jobId(c, "/events");
    if ("problem" in id) return fail(id.problem);
    const watched = await watcher.watch(id.value, request.signal);
    if (watched.kind === "broker_away") {
      return fail({ name: "broker-away", detail: watched.message });
    }
    if (watched.kind !== "watched") return fail(lookupProblem(watched));
    const { watch } = watched;
    const seen = readEventId(request.headers.get("last-event-id"));
    if (isFinal(watch.job.state) && !isNewer(watch.job, seen)) {
      watch.close();
      return new Response(null, { status: 204 });
    }
    c.env?.holdOpen?.(request);
    return eventStream(request, watch, seen, format);
  });
}

function eventStream(
  { signal }: Request,
  watch: JobWatch,
  seen: EventOrder | undefined,
  format: JobFormat,
): Response {
  let keepAlive: ReturnType<typeof setInterval> | undefined;
  const end = () => {
    clearInterval(keepAlive);
    watch.close();
  };
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  // What the client knows: nothing, or all up to an event.
  let told: Job | undefined;
  let isFirst = true;
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(OPENING);
      keepAlive = setInterval(() => {
        if ((controller.desiredSize ?? 0) > 0) controller.enqueue(KEEP_ALIVE);
      }, KEEP_ALIVE_MS);
    },
    async pull(controller) {
      while (true) {
        if (!isFirst) await watch.changed();
        isFirst = false;
        const { job } = watch;
        const frame = told === undefined && !isNewer(job, seen)
          ? undefined
          : frameOf(told, job, format);
        if (frame !== undefined) controller.enqueue(encoder.encode(frame));
        told = job;
        if (isFinal(job.state) || watch.isClosed) {
          end();
          controller.close();
          return;
        }
        if (frame !== undefined) return;
      }
    },
    cancel: end,
  });
  return new Response(stream, {
    headers: {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      // nginx gathers answers otherwise.
      "x-accel-buffering": "no",
    },
  });
}

/** What a client that knows one has to be told to know the other; undefined: nothing. */
function frameOf(told: Job | undefined, job: Job, format: JobFormat): string | undefined {
  const isSameState = told !== undefined && told.state === job.state &&
    told.attempt === job.attempt && told.startedAt === job.startedAt &&
    told.cancelRequestedAt === job.cancelRequestedAt;
  if (!isSameState) return frame("state", job.lastEvent, jobJson(job, format));
  const { progress } = job;
  if (progress === undefined) return undefined;
  if (told.progress !== undefined && compareOrder(progress, told.progress) <= 0) return undefined;
  return frame("progress", job.lastEvent, JSON.stringify(progressOf(progress)));
}

function frame(event: string, { attempt, seq }: EventOrder, json: string): string {
  // A result is as the task wrote it, which may have line breaks.
  const data = json.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`).join("");
  return `id: ${attempt}.${seq}\nevent: ${event}\n${data}\n`;
}

function isNewer({ lastEvent }: Job, seen: EventOrder | undefined): boolean {
  return seen === undefined || compareOrder(lastEvent, seen) > 0;
}

/** Undefined for all that is no id of ours: then everything is told. */
function readEventId(text: string | null): EventOrder | undefined {
  const match = /^(\d{1,9})\.(\d{1,15})$/.exec(text ?? "");
  return match === null ? undefined : { attempt: Number(match[1]), seq: Number(match[2]) };
}
