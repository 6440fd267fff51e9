/** How much of the processor a thread may claim from the others. */
import { setPriority } from "node:os";

/** Nice value of isolates: 0 is the main thread's, 19 the lowest priority. */
const LOW = 10;

/**
 * Lowers the running thread's priority, and that of threads that it starts, so that code that spins
 * here never slows the main thread. On Linux, where process 0 means the calling thread; elsewhere it
 * would mean the whole process, so nothing is done.
 * @throws Error where the system refuses.
 */
export function lowerThreadPriority(): void {
  if (process.platform === "linux") setPriority(0, LOW);
}
