/** Patience with a front that has just connected: others need a moment to say what they serve. */
import type { Clock } from "../lifecycle/clock.ts";
import type { TaskDirectory } from "../nodes/announcement.ts";

const SETTLE_MS = 1_000;

/** Resolves when others have had time to answer, or after a second. */
export async function settledOrLate(
  directory: Pick<TaskDirectory, "settled" | "isSettled">,
  clock: Clock,
): Promise<void> {
  if (directory.isSettled) return;
  const late = Promise.withResolvers<void>();
  const timer = clock.after(SETTLE_MS, () => late.resolve());
  await Promise.race([directory.settled(), late.promise]);
  timer.cancel();
}
