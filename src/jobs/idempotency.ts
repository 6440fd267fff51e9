/** What stands for a request where its idempotency key comes again: a digest of what was asked. */
import { createHash } from "node:crypto";
import type { CallInput } from "../calls/call.ts";

/** How long a key is remembered. */
export const IDEMPOTENCY_KEPT_MS = 24 * 3_600_000;

/**
 * The same for the same task, input and options, in whatever order the options came.
 * @param given options as the client wrote them: a delay is the same delay a minute later.
 */
export function fingerprintOf(
  task: string,
  input: CallInput,
  given: ReadonlyMap<string, unknown>,
): string {
  const options = [...given].map(([name, value]) => [name, String(value)])
    .sort(([a = ""], [b = ""]) => a < b ? -1 : 1);
  return createHash("sha256")
    .update(JSON.stringify([task, input.argsJson, input.kwargsJson, options]))
    .digest("base64url");
}
