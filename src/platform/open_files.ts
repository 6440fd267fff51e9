/** How many files, connections among them, this process may have open. */
import { readFileSync } from "node:fs";

/** The present limit; undefined where the system does not tell it the way Linux does (proc(5)). */
export function maxOpenFiles(): number | undefined {
  let limits: string;
  try {
    limits = readFileSync("/proc/self/limits", "utf8");
  } catch (error) {
    // Another system.
    if (error instanceof Error && "code" in error) return undefined;
    throw error;
  }
  const soft = /^Max open files +(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? undefined : Number(soft);
}
