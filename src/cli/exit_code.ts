/** Exit codes, which scripts rely on, and the one table from a call's ending to them. */
import type { Ending } from "../calls/outcome.ts";

export const EXIT = {
  well: 0,
  /** The task failed, or a node could not go on. */
  failed: 1,
  wrongUsage: 2,
  /** No broker, or for operators' commands no front. */
  noBroker: 3,
  timedOutOrExpired: 4,
  /** Ended by Ctrl-C: 128 + SIGINT, as shells expect it. */
  interrupted: 130,
} as const;

export const EXIT_CODE_OF_ENDING: Readonly<Record<Ending["kind"], number>> = {
  succeeded: EXIT.well,
  failed: EXIT.failed,
  timed_out: EXIT.timedOutOrExpired,
  expired: EXIT.timedOutOrExpired,
  cancelled: EXIT.failed,
  unknown_task: EXIT.wrongUsage,
  not_registered: EXIT.wrongUsage,
  unknown_queue: EXIT.wrongUsage,
  worker_lost: EXIT.failed,
  outcome_unknown: EXIT.noBroker,
  unreadable_reply: EXIT.failed,
  broker_away: EXIT.noBroker,
  too_many_waiting: EXIT.failed,
  refused: EXIT.wrongUsage,
};
