/** The queues that this program's workers take from, as HTTP and the command line see and steer them. */

/** An element of `GET /queues`. */
export interface QueueInfo {
  readonly queue: string;
  /** What is taken from it: tasks' requests, consumed messages, or nothing by itself. */
  readonly kind: "tasks" | "messages" | "dead letters";
  /** Messages that wait; null where the queue is not there (any more). */
  readonly messages: number | null;
  /** Consumers of it, ours and others'. */
  readonly consumers: number | null;
  readonly isPaused: boolean;
  /** Nodes that take from it, sorted. */
  readonly nodes: readonly string[];
  /** Of consumed messages: the exchange that it is bound to, and by which keys. */
  readonly exchange?: string;
  readonly keys?: readonly string[];
  /** Over all nodes whose beacons tell it, in the last ten seconds. */
  readonly deliveredPerSecond?: number;
  readonly settledPerSecond?: number;
}

/** What could not be done with a queue. */
export type QueueFailure =
  | { readonly kind: "unknown_queue"; readonly message: string }
  | { readonly kind: "bad_name"; readonly message: string }
  | { readonly kind: "broker_away"; readonly message: string };

/** None of these rejects for what an operator or a broker may do: that is an ending. */
export interface Queues {
  /** Sorted by name. */
  list(): Promise<
    { readonly kind: "listed"; readonly queues: readonly QueueInfo[] } | QueueFailure
  >;
  /**
   * Pauses or resumes a queue for all workers of ours, those that start later too. What they hold is
   * finished. Idempotent; resolves when it is remembered, and workers have been told.
   */
  setPaused(queue: string, isPaused: boolean): Promise<{ readonly kind: "done" } | QueueFailure>;
  /** Removes what waits in a queue. `messages`: how many there were. */
  purge(
    queue: string,
  ): Promise<{ readonly kind: "purged"; readonly messages: number } | QueueFailure>;
}
