/** Lives of jobs as lists of events, made at random, for tests of the record and of stores. */
import fc from "fast-check";
import type { JobEvent, JobRequest } from "../../src/jobs/job_event.ts";
import { newId } from "../../src/platform/ids.ts";

export const START = Date.UTC(2030, 0, 1);

export function request(
  terms: JobRequest["terms"] = {},
  args: readonly unknown[] = [1],
): JobRequest {
  return {
    terms,
    payload: { input: { argsJson: JSON.stringify(args), kwargsJson: "{}" }, headers: {} },
  };
}

type Base = Omit<Extract<JobEvent, { kind: "published" }>, "kind">;

/** A job whose events are made one after the other, each some milliseconds later. */
export class Life {
  readonly id: string;
  readonly events: JobEvent[] = [];
  readonly #task: string;
  #at: number;
  #attempt = 1;
  #firstAttempt = 1;

  constructor({ id = newId(), task = "demo.add", at = START } = {}) {
    this.id = id;
    this.#task = task;
    this.#at = at;
  }

  get last(): JobEvent {
    const event = this.events.at(-1);
    if (event === undefined) throw new Error("Nothing has happened yet");
    return event;
  }

  get at(): number {
    return this.#at;
  }

  accepted(asked = request()): this {
    return this.#add({ ...this.#base(), kind: "accepted", request: asked });
  }

  scheduled(dueAt: number, asked = request()): this {
    return this.#add({ ...this.#base(), kind: "scheduled", request: asked, dueAt });
  }

  published(): this {
    return this.#add({ ...this.#base(), kind: "published" });
  }

  /** A worker hands its message back, by a clock that may be late, and it is published again. */
  handedBack(dueAt: number, lateMs = 0): this {
    const base = this.#base();
    const seq = base.seq - lateMs;
    this.#add({ ...base, seq, kind: "scheduled", request: request(), dueAt, isHandedBack: true });
    return this;
  }

  publishedAgain(): this {
    return this.#add({ ...this.#base(), kind: "published", isHandedBack: true });
  }

  started(node = "node-a", redelivered = false): this {
    const base = this.#base();
    return this.#add({
      ...base,
      kind: "started",
      run: { node, startedAt: base.at, redelivered },
    });
  }

  progress(fraction: number): this {
    return this.#add({ ...this.#base(), kind: "progress", fraction, run: this.#run() });
  }

  /** The next attempt is due after `pauseMs`. */
  retrying(pauseMs = 1_000): this {
    const base = this.#base();
    this.#add({
      ...base,
      kind: "retrying",
      error: { type: "Error", message: `attempt ${base.attempt}` },
      dueAt: base.at + pauseMs,
      run: this.#run(),
    });
    this.#attempt += 1;
    return this;
  }

  outcome(
    outcome: Extract<JobEvent, { kind: "outcome" }>["outcome"] = {
      kind: "succeeded",
      resultJson: "2",
    },
  ): this {
    const run = this.#lastRun();
    return this.#add({
      ...this.#base(),
      kind: "outcome",
      outcome,
      settles: true,
      ...(run === undefined ? {} : { run }),
    });
  }

  deadLettered(reason = "no more attempts"): this {
    const run = this.#lastRun();
    return this.#add({
      ...this.#base(),
      kind: "dead_lettered",
      reason,
      error: { type: "Error", message: "gave up" },
      settles: true,
      ...(run === undefined ? {} : { run }),
    });
  }

  cancelRequested(): this {
    return this.#add({ ...this.#base(), kind: "cancel_requested" });
  }

  retried(): this {
    this.#attempt += 1;
    this.#firstAttempt = this.#attempt;
    const base = this.#base();
    return this.#add({ ...base, kind: "retried", dueAt: base.at });
  }

  #add(event: JobEvent): this {
    this.events.push(event);
    return this;
  }

  #base(): Base {
    this.#at += 7;
    return {
      id: this.id,
      task: this.#task,
      queue: "default",
      createdAt: START,
      attempt: this.#attempt,
      firstAttempt: this.#firstAttempt,
      seq: this.#at,
      at: this.#at,
    };
  }

  #lastRun(): Extract<JobEvent, { kind: "started" }>["run"] | undefined {
    for (const event of this.events.toReversed()) {
      if (event.attempt !== this.#attempt) break;
      if (event.kind === "started") return event.run;
    }
    return undefined;
  }

  #run(): Extract<JobEvent, { kind: "started" }>["run"] {
    const run = this.#lastRun();
    if (run === undefined) throw new Error("Nothing runs");
    return run;
  }
}

const END = fc.constantFrom("succeeded", "failed", "timed_out", "dead", "none" as const);

const ROUND = fc.record({
  isScheduled: fc.boolean(),
  /** A worker hands the first attempt back. */
  isHandedBack: fc.boolean(),
  /** Runs that are lost, and news of progress, of each attempt. */
  attempts: fc.array(
    fc.record({ lostRuns: fc.nat(2), progress: fc.nat(3) }),
    { minLength: 1, maxLength: 3 },
  ),
  end: END,
});

/** A life in which each round has one end at most, as when no message runs twice to its end. */
export const lives: fc.Arbitrary<readonly JobEvent[]> = fc
  .array(ROUND, { minLength: 1, maxLength: 3 })
  .map((rounds) => {
    const life = new Life({ id: "0198c0de-0000-7000-8000-000000000000" });
    for (const [index, round] of rounds.entries()) {
      if (index > 0) life.retried().published();
      else if (round.isScheduled) life.scheduled(START + 50).published();
      else life.accepted();
      if (round.isHandedBack) life.handedBack(START + 90, 1_000).publishedAgain();
      for (const [turn, { lostRuns, progress }] of round.attempts.entries()) {
        if (turn > 0) life.published();
        for (let run = 0; run <= lostRuns; run += 1) {
          life.started(`node-${run}`, run > 0);
          for (let step = 1; step <= progress; step += 1) life.progress(step / 10);
        }
        if (turn < round.attempts.length - 1) life.retrying();
      }
      finish(life, round.end);
      if (round.end === "none") break;
    }
    return life.events;
  });

function finish(life: Life, end: "succeeded" | "failed" | "timed_out" | "dead" | "none"): void {
  switch (end) {
    case "succeeded":
      life.outcome();
      break;
    case "failed":
      life.outcome({ kind: "failed", error: { type: "Error", message: "no" } });
      break;
    case "timed_out":
      life.outcome({ kind: "timed_out", limitMs: 1_000 });
      break;
    case "dead":
      life.deadLettered();
      break;
    case "none":
      break;
  }
}

/** The same events in another order, some of them twice. */
export function disorderly(events: readonly JobEvent[]): fc.Arbitrary<readonly JobEvent[]> {
  return fc.subarray([...events]).chain((twice) => {
    const all = [...events, ...twice];
    return fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length });
  });
}

/** Any events of one job, whether they make sense together or not. */
export const anyEvents: fc.Arbitrary<readonly JobEvent[]> = fc.array(
  fc.record({
    kind: fc.constantFrom(
      "accepted",
      "scheduled",
      "published",
      "started",
      "progress",
      "retrying",
      "outcome",
      "dead_lettered",
      "cancel_requested",
      "retried",
    ),
    attempt: fc.integer({ min: 1, max: 4 }),
    firstAttempt: fc.integer({ min: 1, max: 3 }),
    ms: fc.nat(20),
    node: fc.constantFrom("node-a", "node-b"),
    end: fc.constantFrom("succeeded", "expired", "cancelled" as const),
  }),
  { maxLength: 12 },
).map((drafts) => drafts.map(eventOf));

interface Draft {
  readonly kind: JobEvent["kind"];
  readonly attempt: number;
  readonly firstAttempt: number;
  readonly ms: number;
  readonly node: string;
  readonly end: "succeeded" | "expired" | "cancelled";
}

function eventOf({ kind, attempt, firstAttempt, ms, node, end }: Draft): JobEvent {
  const at = START + ms;
  const base = {
    id: "0198c0de-0000-7000-8000-000000000000",
    task: "demo.add",
    queue: "default",
    createdAt: START,
    attempt: Math.max(attempt, firstAttempt),
    firstAttempt,
    seq: at,
    at,
  };
  const run = { node, startedAt: at - 1, redelivered: false };
  const error = { type: "Error", message: "no" };
  switch (kind) {
    case "accepted":
      return { ...base, kind, request: request() };
    case "scheduled":
      return { ...base, kind, request: request(), dueAt: at + 5 };
    case "published":
    case "cancel_requested":
      return { ...base, kind };
    case "started":
    case "progress":
      return { ...base, kind, run };
    case "retrying":
      return { ...base, kind, run, error, dueAt: at + 5 };
    case "outcome":
      return { ...base, kind, run, outcome: { kind: end }, settles: true };
    case "dead_lettered":
      return { ...base, kind, reason: "no", settles: true };
    case "retried":
      return { ...base, kind, dueAt: at };
  }
}
