/** Whether a job is to be made: what its idempotency key and its unique key say. Pure. */
import type { Created, NewJob } from "./store.ts";

export interface UsedKey {
  readonly fingerprint: string;
  readonly job: string;
  readonly usedAt: number;
}

/** The keys that are known, as of this transaction. */
export interface Keys {
  /** How an idempotency key was last used. */
  used(key: string): UsedKey | undefined;
  /** The unfinished job that has a unique key. */
  owner(key: string): string | undefined;
}

export type Verdict =
  & ({ readonly kind: "make" } | { readonly kind: "told"; readonly told: Created })
  /** An idempotency key to be entered. */
  & { readonly use?: UsedKey & { readonly key: string } };

/** @param keysSince idempotency keys that were used before this count for nothing. */
export function judge(
  { event, idempotency }: NewJob,
  keys: Keys,
  keysSince: number,
): Verdict {
  const used = idempotency && keys.used(idempotency.key);
  if (used !== undefined && used.job !== event.id && used.usedAt >= keysSince) {
    const { job: id } = used;
    return {
      kind: "told",
      told: used.fingerprint === idempotency?.fingerprint
        ? { kind: "existing", id, by: "idempotency" }
        : { kind: "conflict", id },
    };
  }
  const { uniqueKey } = event.request.terms;
  const owner = (uniqueKey === undefined ? undefined : keys.owner(uniqueKey)) ?? event.id;
  return {
    ...(owner === event.id
      ? { kind: "make" }
      : { kind: "told", told: { kind: "existing", id: owner, by: "unique" } }),
    ...(idempotency === undefined ? {} : { use: { ...idempotency, job: owner, usedAt: event.at } }),
  };
}
