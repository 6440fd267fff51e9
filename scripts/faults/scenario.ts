/** What a scenario is, and what is found out by running it. */
import type { Account } from "./ledger.ts";
import type { Trial } from "./trial.ts";

export interface Scenario {
  /** Its name on the command line. */
  readonly name: string;
  /** What is done to the program, in a few words. */
  readonly does: string;
  /** The promise that it tries to break. */
  readonly promise: string;
  /** It breaks the broker itself, which others then must not share. */
  readonly disturbsBroker?: true;
  /** Breaks things, and checks in between what the ledger does not show. */
  readonly run: (trial: Trial) => Promise<void>;
}

/** One thing that must hold, and whether it did. */
export interface Check {
  readonly what: string;
  readonly isMet: boolean;
  /** What was seen, where it says more. */
  readonly seen: string;
}

export interface Verdict {
  readonly name: string;
  readonly seed: number;
  readonly isPassed: boolean;
  /** Why it could not run on this machine. */
  readonly skipped?: string;
  readonly seconds: number;
  /** How often something was broken. */
  readonly faults: number;
  readonly account: Account | undefined;
  /** Slowest return to good answers after a fault, in milliseconds. */
  readonly backInMs: number | undefined;
  readonly checks: readonly Check[];
  /** Measured beside, for the table and the reader. */
  readonly figures: Readonly<Record<string, string | number>>;
}

/** Which answers to calls a scenario must not see. */
export interface Demands {
  /** False where a front is killed or stopped: its clients are cut off. */
  readonly isFrontSpared: boolean;
  /**
   * False where workers are killed, cut off or suspended: one may have run a call, or have yet to hear
   * that it has expired, and nobody knows.
   */
  readonly isExpirySure: boolean;
  /** The record keeps finished jobs for a moment only: one that it does not know any more had ended. */
  readonly forgetsFinished: boolean;
  /** Ids of nodes that could not tell anybody what they ran: a call that they took may count as expired. */
  readonly cutOff: ReadonlySet<string>;
}

/** What any run of a ledger must show. */
export function judge(
  account: Account,
  disagreeing: readonly string[],
  { isFrontSpared, isExpirySure }: Pick<Demands, "isFrontSpared" | "isExpirySure">,
): readonly Check[] {
  const none = (what: string, found: readonly (string | number)[] | number): Check => {
    const number = typeof found === "number" ? found : found.length;
    const seen = typeof found === "number" || number === 0
      ? String(number)
      : `${number}: ${found.slice(0, 5).join(", ")}`;
    return { what, isMet: number === 0, seen };
  };
  return [
    none("accepted jobs that were lost", account.lost),
    none("accepted jobs that the store does not know as succeeded", disagreeing),
    none("repeated runs that are not marked", account.unmarked),
    none("jobs that ran although they were refused", account.uninvited),
    none("idempotency keys for which two jobs ran", account.doubled),
    none("calls with another call's result", account.wrong),
    ...(isExpirySure
      ? [none("calls that ran although their answer says no", account.ranAfterAll)]
      : []),
    none("calls sent with once that ran twice", account.onceTwice),
    ...(isFrontSpared
      ? [
        none("calls without an answer", account.unanswered),
        none("calls answered after their deadline", account.late),
      ]
      : []),
  ];
}
