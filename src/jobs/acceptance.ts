/** What is asked of a node that is to accept a job, and all that can come of it. */
import type { CallInput } from "../calls/call.ts";
import type { JobOptions } from "./job_options.ts";

export interface EnqueueRequest {
  readonly task: string;
  readonly input: CallInput;
  readonly options?: JobOptions;
  /** Headers for the task's `context`, lower-case names. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The same key with the same fingerprint is the same job, for 24 hours. */
  readonly idempotency?: { readonly key: string; readonly fingerprint: string };
  /** The job or call whose attempt asks. */
  readonly parent?: { readonly id: string; readonly rootId: string };
}

export type Acceptance =
  /** It is durable and will run. `isDelayed`: not at once. */
  | {
    readonly kind: "accepted";
    readonly id: string;
    readonly createdAt: number;
    readonly isDelayed: boolean;
  }
  /** The same was asked before, or an unfinished job has its unique key: it is this job. */
  | {
    readonly kind: "existing";
    readonly id: string;
    readonly by: "idempotency" | "unique";
  }
  /** Nothing was accepted, from here on to `refused`. The key was used with another request. */
  | { readonly kind: "conflict"; readonly id: string; readonly key: string }
  /** No live worker announces the task and none is remembered. */
  | { readonly kind: "unknown_task"; readonly task: string }
  /** The request names a queue, or a route does, that is not there. */
  | { readonly kind: "unknown_queue"; readonly queue: string }
  /** A key needs a store, and this node has none. */
  | { readonly kind: "no_store"; readonly message: string }
  | { readonly kind: "store_away"; readonly message: string }
  | { readonly kind: "broker_away"; readonly message: string }
  | { readonly kind: "too_many_underway"; readonly limit: number }
  /** It cannot be written to the wire; says what to change. */
  | { readonly kind: "refused"; readonly message: string }
  /** The broker was lost before it confirmed: the job may have been accepted, and may run. */
  | { readonly kind: "outcome_unknown"; readonly id: string; readonly message: string };

/** What accepts jobs, as HTTP and tasks know it. */
export interface JobAcceptor {
  /** Never rejects for what a client is to be told. */
  accept(request: EnqueueRequest): Promise<Acceptance>;
  /** One answer for each, in order; one that is refused sinks no other. */
  acceptMany(requests: readonly EnqueueRequest[]): Promise<readonly Acceptance[]>;
}
