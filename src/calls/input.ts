/** From a request body to what a task is called with. */
import type { CallInput } from "./call.ts";
import { isNestedDeeper } from "./wire/json_elements.ts";

/**
 * Deeper than anybody means: a Celery worker in Python reads some 900 levels, and the runtime reads
 * any number but can write no more than its stack holds, which would show when the result is sent.
 */
export const MAX_NESTING = 500;

/**
 * A JSON array is the positional arguments, a JSON object is the keyword arguments (the one argument
 * of a task of ours), anything else is the single argument; an empty text is no argument.
 * @throws SyntaxError when the text is not JSON.
 * @throws RangeError when it is nested deeper than `MAX_NESTING`.
 */
export function parseInput(text: string): CallInput {
  const trimmed = text.trim();
  if (trimmed === "") return { argsJson: "[]", kwargsJson: "{}" };
  JSON.parse(trimmed);
  if (isNestedDeeper(trimmed, MAX_NESTING)) {
    throw new RangeError(`nested more than ${MAX_NESTING} levels deep`);
  }
  if (trimmed.startsWith("[")) return { argsJson: trimmed, kwargsJson: "{}" };
  if (trimmed.startsWith("{")) return { argsJson: "[]", kwargsJson: trimmed };
  return { argsJson: `[${trimmed}]`, kwargsJson: "{}" };
}
