/** The operator's terminal: results to stdout, everything else to stderr, whole and in order. */
import { writeSync } from "node:fs";
import { isatty } from "node:tty";

export interface Output {
  /** Whether stdout is a terminal. */
  readonly isTerminal: boolean;
  /** Whoever read stdout has gone away (`| head`): nothing that is printed is read any more. */
  readonly isReaderGone?: boolean;
  readonly print: (text: string) => void;
  readonly printError: (text: string) => void;
}

/** Without the control characters in others' texts, which a terminal would obey. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (one) => one === "\n" || one === "\t" ? one : "?");
}

const STDOUT = 1;
const STDERR = 2;

/** This process's stdout and stderr. */
export function processOutput(): Output {
  let isReaderGone = false;
  return {
    isTerminal: isatty(STDOUT),
    get isReaderGone() {
      return isReaderGone;
    },
    print: (text) => {
      isReaderGone = !writeWhole(STDOUT, text) || isReaderGone;
    },
    printError: (text) => void writeWhole(STDERR, text),
  };
}

/** Longest pause before a descriptor that takes nothing now is tried again. */
const PAUSE_MS = 5;
const pause = new Int32Array(new SharedArrayBuffer(4));

/**
 * Writes all of it before it returns, for the process may exit next: a stream's write would be lost.
 * A reader that has gone away (`| head`) is no error.
 * @returns false where it has.
 */
export function writeWhole(descriptor: number, text: string): boolean {
  let rest: Uint8Array = new TextEncoder().encode(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest));
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EPIPE") return false;
      if (code !== "EAGAIN") throw error;
      Atomics.wait(pause, 0, 0, PAUSE_MS);
    }
  }
  return true;
}
