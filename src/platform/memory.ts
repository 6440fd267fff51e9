/**
 * Memory as the system and the runtime tell of it: of a process, and of one isolate's share of it.
 * Where the system has no /proc (it is not Linux), only the own process can be measured.
 */
import { edenGC } from "bun:jsc";
import { readFileSync, readlinkSync } from "node:fs";

/** Bytes of physical memory that this whole process holds, all its threads together. About 20 µs. */
export function ownMemoryBytes(): number {
  return process.memoryUsage.rss();
}

/**
 * The same for another process; undefined where it has ended or the system does not tell.
 * proc(5): /proc/pid/statm counts pages, of which the second figure is the resident ones.
 */
export function memoryBytesOf(pid: number): number | undefined {
  const pages = readProc(`/proc/${pid}/statm`)?.split(" ")[1];
  return pages === undefined ? undefined : Number(pages) * PAGE_BYTES;
}

/** Of every system with /proc that the runtime is built for. */
const PAGE_BYTES = 4_096;

/**
 * Bytes that the JavaScript of the calling thread holds, typed arrays and long texts included, and
 * nothing of other threads. The runtime's figures are those of its last collection, so young objects
 * are collected first: 0.2 to 15 ms in all (`heapStats` would count objects by their types as well).
 */
export function heapBytes(): number {
  edenGC();
  const { heapTotal, heapUsed, external } = process.memoryUsage();
  // What was freed and not given back counts too, where it is in blocks of the heap.
  return Math.max(heapUsed, heapTotal + external);
}

/** Collects all garbage of the calling thread now and gives freed memory back to the system. */
export function collectNow(): void {
  Bun.gc(true);
}

/** The system's number of the calling thread; undefined where the system does not tell. */
export function currentThread(): number | undefined {
  try {
    const thread = Number(readlinkSync("/proc/thread-self").split("/").at(-1));
    return Number.isInteger(thread) ? thread : undefined;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/**
 * How often a thread of this process was given a new page of memory (proc(5): minflt, field 10 of its
 * stat). It grows with what the thread allocates, also while it never comes back to its event loop.
 */
export function pageFaultsOf(thread: number): number | undefined {
  const stat = readProc(`/proc/self/task/${thread}/stat`);
  // The second field is a name in brackets, which may hold anything.
  const faults = stat?.slice(stat.lastIndexOf(") ") + 2).split(" ")[7];
  return faults === undefined ? undefined : Number(faults);
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** There is no such process or thread any more, or no /proc. */
function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    (error.code === "ENOENT" || error.code === "ESRCH");
}
