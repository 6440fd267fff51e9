/** A node's share in jobs, put together: what accepts them, and what reads and follows them. */
import type { Broker } from "../broker/broker.ts";
import { type Clock, systemClock } from "../lifecycle/clock.ts";
import type { TaskDirectory } from "../nodes/announcement.ts";
import type { TaskRoutes } from "../nodes/routes.ts";
import { StoreAwayError } from "../store/errors.ts";
import type { Store } from "../store/store.ts";
import type { TaskDescriptor } from "../tasks/descriptor.ts";
import { Enqueuer } from "./enqueuer.ts";
import { JobLookup } from "./job_lookup.ts";
import { JobOperations } from "./operations.ts";
import { JobWatcher } from "./watch.ts";
import { YoungJobs } from "./young_jobs.ts";

export interface JobServicesOptions {
  readonly broker: Broker;
  readonly directory: TaskDirectory;
  /** Default: none. */
  readonly routes?: TaskRoutes;
  readonly node: string;
  readonly version: string;
  readonly queueType: "classic" | "quorum";
  /** Absent: this node keeps no records. */
  readonly store?: Store;
  /** Most jobs that may be on their way at once. */
  readonly maxUnderway: number;
  /** Most that may follow a job at once. */
  readonly maxWatches: number;
  readonly clock?: Clock;
}

export interface JobServices {
  readonly acceptor: Enqueuer;
  readonly lookup: JobLookup;
  readonly watcher: JobWatcher;
  /** Absent, both: this node keeps no records. */
  readonly store?: Store;
  readonly operations?: JobOperations;
  /** What a task wants hidden, as its workers say now. */
  readonly redactOf: (task: string) => TaskDescriptor["redact"];
  /** To be told where jobs are recorded in this process: their records answer for them from now on. */
  readonly recorded: (jobs: readonly { readonly id: string }[]) => void;
}

/** Creates them; the acceptor and the watcher are to be started and stopped. */
export function createJobServices(options: JobServicesOptions): JobServices {
  const { broker, directory, node, version, store, queueType, maxUnderway, maxWatches } = options;
  const { clock = systemClock } = options;
  const kept = store === undefined ? {} : { store };
  const routed = options.routes === undefined ? {} : { routes: options.routes };
  const young = new YoungJobs(clock);
  const lookup = new JobLookup({ ...kept, young, clock });
  return {
    ...(store === undefined ? {} : {
      store,
      operations: new JobOperations({
        ...routed,
        broker,
        store,
        directory,
        find: async (id) => {
          const found = await lookup.find(id);
          if (found.kind === "store_away") throw new StoreAwayError(found.message);
          return found.kind === "found" ? found.job : undefined;
        },
        clock,
      }),
    }),
    lookup,
    acceptor: new Enqueuer({
      ...kept,
      ...routed,
      broker,
      directory,
      node,
      version,
      young,
      queueType,
      maxUnderway,
      clock,
    }),
    recorded: (jobs) => {
      for (const { id } of jobs) young.forget(id);
    },
    redactOf: (task) => directory.descriptor(task)?.redact,
    watcher: new JobWatcher({ broker, lookup, maxWatches, clock }),
  };
}
