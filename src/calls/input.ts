/** From a request body to what a task is called with. */
import type { CallInput } from "./call.ts";

/**
 * A JSON array is the positional arguments, a JSON object is the keyword arguments (the one argument
 * of a task of ours), anything else is the single argument; an empty text is no argument.
 * @throws SyntaxError when the text is not JSON.
 */
export function parseInput(text: string): CallInput {
  const trimmed = text.trim();
  if (trimmed === "") return { argsJson: "[]", kwargsJson: "{}" };
  JSON.parse(trimmed);
  if (trimmed.startsWith("[")) return { argsJson: trimmed, kwargsJson: "{}" };
  if (trimmed.startsWith("{")) return { argsJson: "[]", kwargsJson: trimmed };
  return { argsJson: `[${trimmed}]`, kwargsJson: "{}" };
}
