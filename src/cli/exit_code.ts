/** Exit codes, which scripts rely on, and the one table from a call's ending to them. */
import type { Ending } from "../calls/outcome.ts";

export const EXIT = {
  well: 0,
  taskFailed: 1,
  wrongUsage: 2,
  /** No broker, or for operators' commands no front. */
  noBroker: 3,
  timedOutOrExpired: 4,
  /** Ended by Ctrl-C: 128 + SIGINT, as shells expect it. */
  interrupted: 130,
} as const;

export const EXIT_CODE_OF_ENDING: Readonly<Record<Ending["kind"], number>> = {
  succeeded: EXIT.well,
  failed: EXIT.taskFailed,
  timed_out: EXIT.timedOutOrExpired,
  expired: EXIT.timedOutOrExpired,
  cancelled: EXIT.taskFailed,
  unknown_task: EXIT.wrongUsage,
  worker_lost: EXIT.taskFailed,
  outcome_unknown: EXIT.noBroker,
  unreadable_reply: EXIT.taskFailed,
  broker_away: EXIT.noBroker,
  too_many_waiting: EXIT.taskFailed,
  refused: EXIT.wrongUsage,
};
