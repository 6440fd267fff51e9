/** Which program this is: its name, whether it is compiled, and how it starts itself again. */
import { basename } from "node:path";

export interface Program {
  /** Built by `bun build --compile`. */
  readonly isCompiled: boolean;
  /** What the user calls it: the executable's name, "app" from source. */
  readonly name: string;
  /** The words that start it again; arguments follow. */
  readonly command: readonly [string, ...string[]];
}

/** The program that runs this line. Not inside an isolate, whose main file is another. */
export function thisProgram(): Program {
  return Bun.isStandaloneExecutable
    ? {
      isCompiled: true,
      name: basename(process.execPath).replace(/\.exe$/i, ""),
      command: [process.execPath],
    }
    : { isCompiled: false, name: "app", command: [process.execPath, Bun.main] };
}
