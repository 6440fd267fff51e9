/** What a pool is made with, and how it says that it cannot start. */
import type { Clock } from "../lifecycle/clock.ts";
import type { Command } from "../platform/child_process.ts";
import type { AskHandlers } from "../tasks/asks.ts";
import type { IsolateLog } from "./protocol.ts";

/** One line of a task's log, and the isolate that it came from. */
export interface TaskLogLine extends IsolateLog {
  readonly isolate: number;
}

export interface PoolOptions {
  /** entry.ts, as `new URL("./src/isolates/entry.ts", import.meta.url)` in main.ts. */
  readonly entryUrl: URL;
  /** The words that start this program again, for process isolates. */
  readonly selfCommand: Command;
  /** Files and folders, relative to the working directory. */
  readonly taskPaths: readonly string[];
  /** Whether the demo tasks are there too. Default true. */
  readonly demo?: boolean;
  /** How many Web Workers serve, and at most so many processes. At least 1. */
  readonly isolates: number;
  /** Attempts at once in one isolate. Default 1. */
  readonly slots?: number;
  /** Isolates of each kind that are kept ready to take a lost one's place. Default 1. */
  readonly spares?: number;
  /** An isolate is replaced after so many attempts. Default: never. */
  readonly maxTasksPerIsolate?: number;
  /** How long a cancelled attempt may take to end by itself. Default 2 s. */
  readonly cancelGraceMs?: number;
  /** How long an isolate may take to load the task files and run the set-ups. Default 30 s. */
  readonly startTimeoutMs?: number;
  /** How long an isolate's teardowns may take. Default 5 s. */
  readonly teardownMs?: number;
  /**
   * What the process with all its Web Workers may hold, and what each process isolate may. Default: no
   * limit.
   */
  readonly maxMemoryBytes?: number;
  readonly nodeId: string;
  /** What tasks log. Default: dropped. */
  readonly onLog?: (line: TaskLogLine) => void;
  /** Who answers what tasks ask of this node. Default: nobody, and their questions fail. */
  readonly asks?: AskHandlers;
  /** Another isolate is stuck in native code; given is how many are. */
  readonly onStuck?: (stuck: number) => void;
  /** `freeSlots` may have changed for another reason than an attempt's start or end. */
  readonly onChange?: () => void;
  readonly clock?: Clock;
}

/** The isolates cannot get ready; trying again does not help until somebody mends the task files. */
export class PoolStartError extends Error {
  override readonly name = "PoolStartError";
  /** The task file or path that it is about, where there is one. */
  readonly file: string | undefined;

  constructor(reason: string, file?: string) {
    super(reason);
    this.file = file;
  }
}

/** @throws RangeError naming the option, its value and what was needed. */
export function checkOptions(options: PoolOptions): void {
  const { isolates, slots = 1, spares = 1, maxTasksPerIsolate = 1 } = options;
  for (
    const [name, value, least] of [
      ["isolates", isolates, 1],
      ["slots", slots, 1],
      ["spares", spares, 0],
      ["maxTasksPerIsolate", maxTasksPerIsolate, 1],
    ] as const
  ) {
    if (Number.isInteger(value) && value >= least) continue;
    throw new RangeError(
      `Cannot make a pool: ${name} must be a whole number from ${least}, got ${value}`,
    );
  }
}
