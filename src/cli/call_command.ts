/** `app call`: one call from its input to the exit code. Who sends it is given. */
import type { Caller } from "../calls/call.ts";
import { parseInput } from "../calls/input.ts";
import type { Ending } from "../calls/outcome.ts";
import type { Command } from "./command.ts";
import { describeEnding, endingJson, indentJson } from "./ending_text.ts";
import { EXIT, EXIT_CODE_OF_ENDING } from "./exit_code.ts";
import { type Output, printable } from "./output.ts";
import { StartupError } from "./startup_error.ts";

/**
 * @param readStdin all of standard input; asked for only where the input is "-".
 * @param interrupt aborts when the operator gives up; the call is cancelled then.
 * @throws StartupError when the input cannot be read, or no front or broker can be reached.
 */
export async function runCall(
  { task, input, config }: Extract<Command, { kind: "call" }>,
  caller: Caller,
  output: Output,
  readStdin: () => Promise<string>,
  interrupt: AbortSignal,
): Promise<number> {
  const text = input === "-" ? await readStdin() : input ?? "";
  const ending = await caller.call(task, readInput(text), config.options, interrupt);
  tell(task, ending, config.json, output);
  return interrupt.aborted && ending.kind === "cancelled"
    ? EXIT.interrupted
    : EXIT_CODE_OF_ENDING[ending.kind];
}

function readInput(text: string): ReturnType<typeof parseInput> {
  try {
    return parseInput(text);
  } catch (error) {
    if (error instanceof RangeError) {
      throw new StartupError(`Cannot send the input: it is ${error.message}`, { cause: error });
    }
    if (!(error instanceof SyntaxError)) throw error;
    throw new StartupError(
      `Cannot read the input as JSON: ${error.message}. ` +
        `A text needs its quotes within the shell's: '"text"'.`,
      { cause: error },
    );
  }
}

function tell(task: string, ending: Ending, json: boolean, output: Output): void {
  if (ending.kind === "succeeded") {
    const isPretty = output.isTerminal && !json;
    output.print(`${isPretty ? indentJson(ending.resultJson) : ending.resultJson}\n`);
  } else {
    const text = json ? endingJson(task, ending) : printable(describeEnding(task, ending));
    output.printError(`${text}\n`);
  }
}
