/**
 * Writes lines to a file descriptor at once, so that the last words before an exit are not lost. Where
 * the reader is too slow for a descriptor that does not block, lines are dropped and counted: a log
 * must neither grow without bound in memory nor spin.
 */
import { writeSync } from "node:fs";

/** Writes what it can of the bytes and tells how many; throws as `fs.writeSync` does. */
export type WriteBytes = (bytes: Uint8Array) => number;

const encoder = new TextEncoder();

/** A function that writes one line, its end included, to the file descriptor. */
export function createLineWriter(descriptor: number): (line: string) => void {
  return createLineWriterOf((bytes) => writeSync(descriptor, bytes));
}

/** The same over any writer. */
export function createLineWriterOf(write: WriteBytes): (line: string) => void {
  /** The rest of a line that was written in part; only this writer changes it. */
  let rest: Uint8Array = new Uint8Array();
  let dropped = 0;

  /** Whether all of it is written. */
  const push = (bytes: Uint8Array): boolean => {
    rest = bytes;
    while (rest.length > 0) {
      const written = attempt(write, rest);
      if (written === "full") return false;
      // A reader that is gone does not come back: what is left is nobody's.
      if (written === "gone") rest = new Uint8Array();
      else rest = rest.subarray(written);
    }
    return true;
  };

  return (line) => {
    if (rest.length > 0 && !push(rest)) {
      dropped += 1;
      return;
    }
    if (dropped > 0) {
      const notice = `... ${dropped} log lines were dropped: their reader was too slow\n`;
      dropped = 0;
      if (!push(encoder.encode(notice))) {
        dropped = 1;
        return;
      }
    }
    push(encoder.encode(line));
  };
}

function attempt(write: WriteBytes, bytes: Uint8Array): number | "full" | "gone" {
  try {
    return write(bytes);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return code === "EAGAIN" ? "full" : "gone";
  }
}
