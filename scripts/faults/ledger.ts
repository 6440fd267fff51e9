/**
 * The ledger of a run: what was asked and answered, and the file in which the tasks note each run. What
 * the two say together is judged here; who asks is load.ts.
 */
import { existsSync, readFileSync } from "node:fs";

/** One try to have a job accepted. */
export type Submission =
  | { readonly kind: "accepted"; readonly id: string }
  /** Said no: it must not run. Or left it open: it may run. */
  | { readonly kind: "refused" | "open" };

export interface CallRecord {
  readonly n: number;
  readonly isOnce: boolean;
  /** 0: no answer came. */
  readonly status: number;
  /** The last word of the problem's type; empty where it succeeded. */
  readonly problem: string;
  readonly isRight: boolean;
  readonly tookMs: number;
}

/** One line of the file: a run of a task that began or ended. */
export interface Run {
  readonly what: "began" | "ended";
  readonly kind: "job" | "call";
  readonly id: string;
  readonly attempt: string;
  readonly isMarked: boolean;
  readonly n: number;
  /** Id of the node that ran it. */
  readonly node: string;
}

/** Answers that say that the call did not run. */
const DID_NOT_RUN: ReadonlySet<string> = new Set([
  "expired",
  "broker-away",
  "too-many-waiting",
  "unknown-task",
]);

export interface Account {
  /** Requests for jobs; those answered with 202; with another answer; without an answer. */
  readonly attempted: number;
  readonly accepted: number;
  readonly refused: number;
  readonly open: number;
  /** Ids of accepted jobs of which no run ended. */
  readonly lost: readonly string[];
  /** Runs beyond the first of an attempt that say so, and attempts with more than one that do not. */
  readonly repeated: number;
  readonly unmarked: readonly string[];
  /** Jobs that ran and were neither accepted nor left open. */
  readonly uninvited: readonly string[];
  /** Keys for which more than one job ran. */
  readonly doubled: readonly number[];
  readonly calls: number;
  /** Calls by their ending: "ok", a problem's name, or "none". */
  readonly endings: Readonly<Record<string, number>>;
  /** Without any answer; later than their deadline; with another's result. */
  readonly unanswered: number;
  readonly late: number;
  readonly wrong: number;
  /** Their answer says that they did not run, and they did; and those of them on a node cut off. */
  readonly ranAfterAll: readonly number[];
  readonly ranCutOff: number;
  /** Sent with `once`, and ran twice. */
  readonly onceTwice: readonly number[];
}

export class Ledger {
  readonly file: string;
  readonly accepted = new Map<string, number>();
  readonly calls: CallRecord[] = [];
  readonly #open = new Set<number>();
  readonly #keyed = new Set<number>();
  #attempted = 0;
  #refused = 0;
  #openCount = 0;
  /** Latest that a call may be answered, in milliseconds after it was sent. */
  readonly #deadlineMs: number;

  constructor(file: string, deadlineMs: number) {
    this.file = file;
    this.#deadlineMs = deadlineMs;
  }

  submitted(n: number, isKeyed: boolean, submission: Submission): void {
    this.#attempted++;
    if (isKeyed) this.#keyed.add(n);
    switch (submission.kind) {
      case "accepted":
        this.accepted.set(submission.id, n);
        break;
      case "refused":
        this.#refused++;
        break;
      case "open":
        this.#openCount++;
        this.#open.add(n);
        break;
    }
  }

  called(record: CallRecord): void {
    this.calls.push(record);
  }

  /** Accepted jobs of which no run has ended so far. */
  missing(): readonly string[] {
    const ended = endedJobs(this.runs());
    return [...this.accepted.keys()].filter((id) => !ended.has(id));
  }

  runs(): readonly Run[] {
    if (!existsSync(this.file)) return [];
    return readFileSync(this.file, "utf8").split("\n").flatMap(parseLine);
  }

  /** @param cutOff ids of nodes that could not tell anybody what they ran. */
  account(cutOff: ReadonlySet<string> = new Set()): Account {
    const runs = this.runs();
    const ended = endedJobs(runs);
    const began = runs.filter(({ what }) => what === "began");
    const jobsOf = Map.groupBy(began.filter(({ kind }) => kind === "job"), ({ n }) => n);
    const callsOf = Map.groupBy(began.filter(({ kind }) => kind === "call"), ({ n }) => n);
    const ranAfterAll = this.calls
      .filter(({ n, problem }) => DID_NOT_RUN.has(problem) && callsOf.has(n))
      .map(({ n }) => n);
    const openly = ranAfterAll.filter((n) => callsOf.get(n)?.some(({ node }) => !cutOff.has(node)));
    return {
      attempted: this.#attempted,
      accepted: this.accepted.size,
      refused: this.#refused,
      open: this.#openCount,
      lost: [...this.accepted.keys()].filter((id) => !ended.has(id)),
      ...repetitions(began),
      uninvited: [...new Set(began.filter(({ kind }) => kind === "job").map(({ id }) => id))]
        .filter((id) => !this.accepted.has(id) && !this.#mayRun(jobsOf, id)),
      doubled: [...this.#keyed].filter((n) => new Set(jobsOf.get(n)?.map(({ id }) => id)).size > 1),
      calls: this.calls.length,
      endings: count(this.calls.map(({ status, problem }) => endingName(status, problem))),
      unanswered: this.calls.filter(({ status }) => status === 0).length,
      late: this.calls.filter(({ status, tookMs }) => status > 0 && tookMs > this.#deadlineMs)
        .length,
      wrong: this.calls.filter(({ isRight }) => !isRight).length,
      ranAfterAll: openly,
      ranCutOff: ranAfterAll.length - openly.length,
      onceTwice: this.calls
        .filter(({ n, isOnce }) => isOnce && (callsOf.get(n)?.length ?? 0) > 1)
        .map(({ n }) => n),
    };
  }

  /** Whether a job that was not accepted by this id belongs to a request that was left open. */
  #mayRun(jobsOf: ReadonlyMap<number, readonly Run[]>, id: string): boolean {
    for (const n of this.#open) {
      if (jobsOf.get(n)?.some((run) => run.id === id)) return true;
    }
    return false;
  }
}

export function endingName(status: number, problem: string): string {
  if (status === 0) return "none";
  if (status === 200) return "ok";
  return problem === "" ? String(status) : problem;
}

export function count(words: readonly string[]): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

/** Of the runs of one attempt only one may say that it is the first. */
function repetitions(began: readonly Run[]): Pick<Account, "repeated" | "unmarked"> {
  let repeated = 0;
  const unmarked: string[] = [];
  for (const [run, each] of Map.groupBy(began, ({ id, attempt }) => `${id} ${attempt}`)) {
    repeated += each.length - 1;
    if (each.filter(({ isMarked }) => !isMarked).length > 1) unmarked.push(run);
  }
  return { repeated, unmarked };
}

function endedJobs(runs: readonly Run[]): ReadonlySet<string> {
  return new Set(
    runs.filter(({ what, kind }) => what === "ended" && kind === "job").map(({ id }) => id),
  );
}

/** A line that a full disk or a kill cut short says nothing. */
function parseLine(line: string): readonly Run[] {
  const [what, kind, id, attempt, marked, n, node] = line.split(" ");
  if (what !== "began" && what !== "ended") return [];
  if (kind !== "job" && kind !== "call") return [];
  if (id === undefined || attempt === undefined || node === undefined) return [];
  return [{ what, kind, id, attempt, isMarked: marked === "true", n: Number(n), node }];
}

/** The task file of every run. It notes where the variable LEDGER_FILE says. */
export const LEDGER_TASKS = `
import { appendFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { context, task } from "coxswain";
const note = (what, kind, n) => appendFileSync(
  process.env.LEDGER_FILE,
  \`\${what} \${kind} \${context.id} \${context.attempt} \${context.redelivered} \${n} \${context.node}\\n\`,
);
const work = async (kind, n, workMs) => {
  note("began", kind, n);
  if (workMs > 0) await pause(workMs);
  note("ended", kind, n);
  return n;
};
task("ledger.job", { timeout: "20s", retry: { limit: 20, base: "300ms", cap: "2s" } },
  async (n, failures, workMs) => {
    if (context.attempt <= failures) throw new Error("not yet");
    return await work("job", n, workMs);
  });
task("ledger.call", { timeout: "3s" }, async (n, workMs) => await work("call", n, workMs));
`;
