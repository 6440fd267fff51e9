/** `/schedules`: what fires when, and running, pausing and resuming one. */
import type { Context, Hono } from "hono";
import type { JobOperations, SteerEnding } from "../../jobs/operations.ts";
import type { ScheduleView } from "../../jobs/schedules.ts";
import { addNameless, type AppEnv, type Fail, patiently, segment } from "../exchange.ts";
import { accepted, operate } from "../operate.ts";
import { type Problem, shortened } from "../problems.ts";

export interface ScheduleRoutes {
  /** Absent: this node keeps no records. */
  readonly operations?: JobOperations;
  readonly fail: Fail;
}

/**
 * `GET /schedules`: an array of `{name, task, rhythm, state, input, file, nextAt?, lastFiredAt?,
 * lastJobId?, announcedAt}`, sorted by name. `POST /schedules/{name}/run` makes its job now (202, with
 * the job's id); `pause` and `resume` answer with the schedule.
 */
export function addScheduleRoutes(app: Hono<AppEnv>, { operations, fail }: ScheduleRoutes): void {
  app.get("/schedules", async (c) => {
    const read = await patiently(c, operate(operations, (jobs) => jobs.schedules()));
    return "problem" in read ? fail(read.problem) : Response.json(read.value.map(shown));
  });

  const actions: Readonly<
    Record<string, (jobs: JobOperations, name: string) => Promise<Response | Problem>>
  > = {
    run: async (jobs, name) => {
      const ending = await jobs.runSchedule(name);
      return ending.kind === "started"
        ? accepted(JSON.stringify({ id: ending.id, schedule: name }), ending.id)
        : unknownSchedule(name);
    },
    pause: async (jobs, name) => steered(await jobs.pauseSchedule(name)),
    resume: async (jobs, name) => steered(await jobs.resumeSchedule(name)),
  };

  for (const [action, act] of Object.entries(actions)) {
    const answer = async (c: Context<AppEnv>): Promise<Response> => {
      const name = segment(c.req.path.slice("/schedules/".length, -`/${action}`.length));
      if ("problem" in name) return fail(name.problem);
      const done = await patiently(c, operate(operations, (jobs) => act(jobs, name.value)));
      if ("problem" in done) return fail(done.problem);
      return done.value instanceof Response ? done.value : fail(done.value);
    };
    app.post(`/schedules/:name/${action}`, answer);
    addNameless(app, `/schedules//${action}`, answer);
  }
}

function steered(ending: SteerEnding): Response | Problem {
  return ending.kind === "done"
    ? Response.json(shown(ending.schedule))
    : unknownSchedule(ending.name);
}

function shown({ input, announcedAt, nextAt, lastFiredAt, ...rest }: ScheduleView): object {
  return {
    ...rest,
    input: input === "" ? undefined : JSON.parse(input),
    nextAt: instant(nextAt),
    lastFiredAt: instant(lastFiredAt),
    announcedAt: instant(announcedAt),
  };
}

function instant(at: number | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString();
}

function unknownSchedule(name: string): Problem {
  return {
    name: "unknown-schedule",
    detail: `There is no schedule "${shortened(name)}"`,
    members: { schedule: name },
  };
}
