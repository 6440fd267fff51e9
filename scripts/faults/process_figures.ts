/** What a process holds, as Linux tells in /proc. 0 where it is gone, or elsewhere than on Linux. */
import { existsSync, readdirSync, readFileSync } from "node:fs";

/** Resident memory. */
export function residentBytes(pid: number): number {
  return field(pid, "VmRSS") * 1_024;
}

export function threads(pid: number): number {
  return field(pid, "Threads");
}

/** Open files, sockets and pipes. */
export function handles(pid: number): number {
  const folder = `/proc/${pid}/fd`;
  return existsSync(folder) ? entries(folder) : 0;
}

function field(pid: number, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status(pid))?.[1];
  return Number(found ?? 0);
}

function status(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch (error) {
    if (isGone(error)) return "";
    throw error;
  }
}

function entries(folder: string): number {
  try {
    return readdirSync(folder).length;
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    (error.code === "ENOENT" || error.code === "ESRCH");
}
