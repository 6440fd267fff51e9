/** What the configuration is read from besides the command line: the machine, as one value. */
import { readFileSync } from "node:fs";
import { availableParallelism, hostname } from "node:os";

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Absolute. */
  readonly cwd: string;
  readonly processors: number;
  readonly hostname: string;
  /** Makes this start's default node id another than the last one's. */
  readonly randomEnd: string;
  /** @throws as `fs.readFileSync` does. */
  readonly readText: (path: string) => string;
}

/** This process on this machine. */
export function processSurroundings(): Surroundings {
  return {
    env: process.env,
    cwd: process.cwd(),
    processors: availableParallelism(),
    hostname: hostname(),
    randomEnd: [...crypto.getRandomValues(new Uint8Array(3))]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join(""),
    readText: (path) => readFileSync(path, "utf8"),
  };
}
