/**
 * What becomes of a call that nobody has answered when it expires, and that a Celery worker may have:
 * such a worker does not tell that it has begun. Pure; who asks is celery_inquiry.ts.
 */
import type { QueueStatus } from "../broker/broker.ts";
import type { Whereabouts } from "./celery_inquiry.ts";

export type CeleryExpiry =
  /** It runs: its caller waits on, for its limit from now. */
  | "runs"
  /** Nobody has begun it. It is revoked, and its caller is told that it expired. */
  | "expired"
  /** Somebody took it and has it no more: no result will come. */
  | "no_result"
  /** Nobody can say. Its caller waits on, as long as it would have for a call that began last. */
  | "unknown";

/**
 * @param queue as it is now; undefined: it is gone. The broker keeps the call in it for longer than the
 *   call lasts, so that a queue without messages means that somebody has taken it.
 */
export function celeryExpiry(
  place: Whereabouts["kind"],
  queue: QueueStatus | undefined,
): CeleryExpiry {
  switch (place) {
    case "active":
      return "runs";
    case "reserved":
      return "expired";
    case "unseen":
    case "silent":
      if (queue === undefined || queue.messages > 0) return "expired";
      return place === "unseen" ? "no_result" : "unknown";
  }
}
