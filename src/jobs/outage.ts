/** What keeps an operation from being done now, as a value. */
import { BrokerAwayError } from "../broker/errors.ts";
import { type StoreProblem, storeProblem } from "./job_lookup.ts";

export type Outage =
  | StoreProblem
  | { readonly kind: "broker_away"; readonly message: string };

/** Anything else that it rejects with passes. */
export async function orOutage<T>(
  work: Promise<T>,
): Promise<{ readonly value: T } | { readonly outage: Outage }> {
  try {
    return { value: await work };
  } catch (error) {
    if (error instanceof BrokerAwayError) {
      return { outage: { kind: "broker_away", message: error.message } };
    }
    const problem = storeProblem(error);
    if (problem === undefined) throw error;
    return { outage: problem };
  }
}
