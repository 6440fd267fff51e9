/** How amounts of memory, and the end of an attempt for its memory, are told to people. */
import type { AttemptEnd } from "./attempt.ts";

/** In whole mebibytes, as --max-memory takes them: "512MiB". */
export function mebibytes(bytes: number): string {
  return `${Math.round(bytes / 2 ** 20)}MiB`;
}

/** Why it was stopped; follows the task's name or "it". */
export function memoryExceededText(
  { limitBytes, usedBytes, heldBytes, isolate }: Extract<AttemptEnd, { kind: "memory_exceeded" }>,
): string {
  const limit = `the memory limit of ${mebibytes(limitBytes)}`;
  return usedBytes === heldBytes
    ? `was stopped: its process (isolate ${isolate}) held ${mebibytes(usedBytes)}, past ${limit}`
    : `was stopped: isolate ${isolate}, in which it ran, held about ${
      mebibytes(heldBytes)
    } of the ` +
      `worker's ${mebibytes(usedBytes)}, past ${limit}`;
}
