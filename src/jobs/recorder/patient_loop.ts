/**
 * One thing done again and again, whatever fails: the store or the broker may be away for days, and a
 * mistake in one turn must not end all the others.
 */
import { getLogger } from "@logtape/logtape";
import type { Alarm } from "../../async/alarm.ts";
import { Backoff } from "../../async/backoff.ts";
import { BrokerAwayError } from "../../broker/errors.ts";
import { StoreAwayError } from "../../store/errors.ts";

const log = getLogger(["coxswain", "recorder"]);

const BACKOFF = { baseMs: 200, capMs: 5_000 } as const;

export interface PatientLoop {
  /** What is done, for the log. */
  readonly name: string;
  /** @returns how long to wait until the next turn, in milliseconds. */
  turn(signal: AbortSignal): Promise<number>;
  /** Rings where the next turn is to come sooner. */
  readonly alarm: Alarm;
}

/** Resolves after the signal has aborted, when the turn under way has ended. */
export async function runPatiently(loop: PatientLoop, signal: AbortSignal): Promise<void> {
  const { name, alarm } = loop;
  const backoff = new Backoff(BACKOFF);
  let told: string | undefined;
  while (!signal.aborted) {
    let pauseMs: number;
    try {
      pauseMs = await loop.turn(signal);
      if (told !== undefined) log.info("{name}: it works again", { name });
      told = undefined;
      backoff.reset();
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      const isAway = error instanceof StoreAwayError || error instanceof BrokerAwayError;
      if (reason !== told) {
        if (isAway) log.warn("{name}: waiting: {reason}", { name, reason });
        else log.error("{name}: failed, and is tried again: {error}", { name, error });
      }
      told = reason;
      pauseMs = backoff.next();
    }
    await alarm.wait(pauseMs, signal);
  }
}
