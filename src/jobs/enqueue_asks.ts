/** What running tasks ask for: further jobs. */
import { parseInput } from "../calls/input.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { AskHandler } from "../tasks/asks.ts";
import type { Acceptance, JobAcceptor } from "./acceptance.ts";
import { readJobOptions } from "./job_options.ts";

export interface EnqueueAsks {
  readonly "jobs.enqueue": AskHandler<"jobs.enqueue">;
}

export function enqueueAsks(
  acceptor: Pick<JobAcceptor, "accept">,
  clock: Clock = systemClock,
): EnqueueAsks {
  return {
    "jobs.enqueue": async ({ task, options: { headers = {}, ...given } }, text, origin) => {
      const fail = (reason: string, name: string): Error => {
        const error = new Error(`Cannot enqueue a job of task ${JSON.stringify(task)}: ${reason}`);
        error.name = name;
        return error;
      };
      const options = readJobOptions(new Map(Object.entries(given)), clock.now());
      if ("problem" in options) throw fail(options.problem, "BadOption");
      const acceptance = await acceptor.accept({
        task,
        input: parseInput(text),
        options: options.value,
        headers: lowerCased(headers),
        // Its own root is not known here; the line begins with who asks.
        ...(origin === undefined ? {} : { parent: { id: origin.id, rootId: origin.id } }),
      });
      if (acceptance.kind === "accepted" || acceptance.kind === "existing") {
        return { id: acceptance.id };
      }
      throw fail(reasonOf(acceptance), ERROR_NAMES[acceptance.kind]);
    },
  };
}

type Refusal = Exclude<Acceptance, { readonly kind: "accepted" | "existing" }>;

/** What the error is called that the task sees. */
const ERROR_NAMES: Readonly<Record<Refusal["kind"], string>> = {
  conflict: "IdempotencyConflict",
  unknown_task: "UnknownTask",
  unknown_queue: "UnknownQueue",
  no_store: "NoJobRecords",
  store_away: "StoreAwayError",
  broker_away: "BrokerAwayError",
  too_many_underway: "TooManyJobs",
  refused: "PublishRefused",
  outcome_unknown: "OutcomeUnknown",
};

function reasonOf(refusal: Refusal): string {
  switch (refusal.kind) {
    case "conflict":
      return `the key ${JSON.stringify(refusal.key)} was used for job ${refusal.id}`;
    case "unknown_task":
      return "no worker serves it, nor did one since this node started";
    case "unknown_queue":
      return `there is no queue ${JSON.stringify(refusal.queue)}: its workers declare it`;
    case "too_many_underway":
      return `${refusal.limit} jobs are on their way already`;
    case "no_store":
    case "store_away":
    case "broker_away":
    case "refused":
    case "outcome_unknown":
      return refusal.message;
  }
}

function lowerCased(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), String(value)]),
  );
}
