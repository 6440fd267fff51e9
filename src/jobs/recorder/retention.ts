/** Deletes records that are too old, in small bites: a long transaction would stop all others. */
import { getLogger } from "@logtape/logtape";
import { Alarm } from "../../async/alarm.ts";
import type { Clock } from "../../lifecycle/clock.ts";
import type { Store } from "../../store/store.ts";
import type { PatientLoop } from "./patient_loop.ts";

const log = getLogger(["coxswain", "recorder"]);

const LOOK_EVERY_MS = 60_000;
const BITE = 200;
const BITE_PAUSE_MS = 50;
/** Idempotency keys are kept for so long. */
export const KEEP_KEYS_MS = 24 * 3_600_000;
/** A message of a cancelled job may lie in a queue for so long before its record goes. */
const KEEP_CANCELLED_MS = 90 * 24 * 3_600_000;

export interface RetentionOptions {
  readonly store: Store;
  readonly clock: Clock;
  /** How long finished jobs are kept, by their end. */
  readonly keepResultsMs: number;
  /** How long dead letters are kept. */
  readonly keepDeadLettersMs: number;
  /** How long what became of devices is kept, and devices that are offline. */
  readonly keepDevicesMs: number;
}

export class RetentionLoop implements PatientLoop {
  readonly name = "Deleting old jobs";
  readonly alarm: Alarm;
  readonly #options: RetentionOptions;
  #deleted = 0;

  constructor(options: RetentionOptions) {
    this.#options = options;
    this.alarm = new Alarm(options.clock);
  }

  async turn(): Promise<number> {
    const { store, clock, keepResultsMs, keepDeadLettersMs, keepDevicesMs } = this.#options;
    const now = clock.now();
    const deleted = await store.deleteOld(
      {
        finishedBefore: now - keepResultsMs,
        deadLetteredBefore: now - keepDeadLettersMs,
        cancelledBefore: now - Math.max(KEEP_CANCELLED_MS, keepResultsMs),
      },
      now - KEEP_KEYS_MS,
      BITE,
    );
    this.#deleted += deleted;
    const devices = await store.deleteOldDevices(now - keepDevicesMs, BITE);
    if (deleted >= BITE || devices >= BITE) return BITE_PAUSE_MS;
    if (this.#deleted > 0) log.info("Deleted {count} old jobs", { count: this.#deleted });
    this.#deleted = 0;
    // What is kept for seconds is looked for more often.
    const shortestMs = Math.min(keepResultsMs, keepDeadLettersMs, keepDevicesMs);
    return Math.min(LOOK_EVERY_MS, Math.max(1_000, shortestMs / 10));
  }
}
