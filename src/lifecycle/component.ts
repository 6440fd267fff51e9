/** How long-lived parts live: created without effects, started, stopped in two phases. */

/** A part with a life. Stopping twice, or before starting, does nothing. */
export interface Component {
  /** Starts it; rejects when it cannot start, having undone what it did. */
  start(signal?: AbortSignal): Promise<void>;
  /** Takes no new work at once, finishes what runs until the signal aborts, then lets go. */
  stop(abort?: AbortSignal): Promise<void>;
}
