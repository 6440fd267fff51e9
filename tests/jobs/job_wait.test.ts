/** What a wait for the end of a job answers with where the record is behind the job's events. */
import { expect, test } from "bun:test";
import type { JobEvent } from "../../src/jobs/job_event.ts";
import type { Job } from "../../src/jobs/job.ts";
import { waitForEnd } from "../../src/jobs/job_wait.ts";
import { applyEvent } from "../../src/jobs/states.ts";
import { JobWatch } from "../../src/jobs/watch.ts";
import { Life } from "./job_lives.ts";

function jobOf(events: readonly JobEvent[]): Job {
  const job = events.reduce<Job | undefined>(applyEvent, undefined);
  if (job === undefined) throw new Error("Nothing has happened to it");
  return job;
}

/** It failed twice; nobody heard of the second attempt, which was over before somebody listened. */
const life = new Life().accepted().started().retrying().published().started().retrying()
  .published().started().outcome({ kind: "succeeded", resultJson: "2" });
const isHeard = ({ attempt }: JobEvent) => attempt !== 2;

test("who went away while the job was subscribed to is not waited for", async () => {
  const gone = new AbortController();
  const watch = new JobWatch(life.id, () => undefined);
  const job = jobOf(life.events.slice(0, 1));
  const found = () => Promise.resolve({ kind: "found", job } as const);
  const subscribe = () => {
    watch.read(job);
    gone.abort();
    return Promise.resolve({ kind: "watched", watch } as const);
  };
  const options = { lookup: { find: found }, watcher: { watch: subscribe } };
  expect(await waitForEnd(life.id, 60_000, options, gone.signal)).toEqual({ kind: "found", job });
  expect(watch.isClosed).toBe(true);
});

/** @param records what the record is, reading after reading; the last one again and again. */
async function wait(records: readonly Job[]) {
  const heard = life.events.filter(isHeard);
  const watch = new JobWatch(life.id, () => undefined);
  watch.read(jobOf(heard.slice(0, 3)));
  for (const event of heard.slice(3)) watch.apply(event);
  let read = 0;
  const lookup = {
    find: () => {
      const job = records[Math.min(read++, records.length - 1)];
      if (job === undefined) throw new Error("There is no record");
      return Promise.resolve({ kind: "found", job } as const);
    },
  };
  const watcher = { watch: () => Promise.resolve({ kind: "watched", watch } as const) };
  return await waitForEnd(life.id, 60_000, { lookup, watcher }, new AbortController().signal);
}

const attemptsOf = (job: Job) => job.attempts.map(({ attempt }) => attempt);

test("attempts that were not heard of come from the record, a moment later", async () => {
  const behind = jobOf(life.events.slice(0, 3));
  const waited = await wait([behind, behind, behind, jobOf(life.events)]);
  if (waited.kind !== "found") throw new Error(waited.kind);
  expect(waited.job.state).toBe("succeeded");
  expect(attemptsOf(waited.job)).toEqual([1, 2, 3]);
});

test("a record that stays behind holds nobody up for long", async () => {
  const waited = await wait([jobOf(life.events.slice(0, 3))]);
  if (waited.kind !== "found") throw new Error(waited.kind);
  expect(waited.job).toMatchObject({ state: "succeeded", resultJson: "2" });
  expect(attemptsOf(waited.job)).toEqual([1, 3]);
});
