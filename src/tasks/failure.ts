/** From whatever a task threw to plain data that callers, logs and the wire can be told. */
import { Interruption } from "./errors.ts";
import type { TaskError } from "./task_error.ts";

const MAX_TYPE_LENGTH = 200;
const MAX_MESSAGE_LENGTH = 8 * 1024;
const MAX_STACK_LENGTH = 16 * 1024;
const MAX_CAUSES = 5;

/**
 * Describes what was thrown: never throws itself, whatever that was, and is bounded. Causes are told
 * in the stack.
 */
export function describeFailure(thrown: unknown): TaskError {
  try {
    return describe(thrown);
  } catch {
    // A proxy, or an error whose getters throw: the task still failed, and its caller is told so.
    return { type: "Error", message: "The task threw a value that cannot be read" };
  }
}

function describe(thrown: unknown): TaskError {
  if (!(thrown instanceof Error)) return describeValue(thrown);
  const stack = stackWithCauses(thrown);
  const told = interruptionBehind(thrown) ?? thrown;
  return {
    type: clip(typeOf(told), MAX_TYPE_LENGTH),
    message: clip(String(told.message), MAX_MESSAGE_LENGTH),
    ...(stack === "" ? {} : { stack: clip(stack, MAX_STACK_LENGTH) }),
  };
}

/** Node's own functions wrap the signal's reason in an error of theirs; why it aborted tells more. */
function interruptionBehind({ name, cause }: Error): Interruption | undefined {
  return name === "AbortError" && cause instanceof Interruption ? cause : undefined;
}

/** `class ValueError extends Error {}` keeps the name "Error": then its class tells more. */
function typeOf(error: Error): string {
  const { name } = error;
  if (typeof name === "string" && name !== "" && name !== "Error") return name;
  return error.constructor?.name || "Error";
}

function describeValue(thrown: unknown): TaskError {
  if (typeof thrown !== "object" || thrown === null) {
    return { type: "Error", message: clip(String(thrown), MAX_MESSAGE_LENGTH) };
  }
  const message: unknown = Reflect.get(thrown, "message");
  const type = thrown.constructor?.name;
  return {
    type: clip(type && type !== "Object" ? type : "Error", MAX_TYPE_LENGTH),
    message: clip(typeof message === "string" ? message : jsonOf(thrown), MAX_MESSAGE_LENGTH),
  };
}

function jsonOf(value: object): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return "The task threw an object that JSON cannot carry";
  }
}

function stackWithCauses(error: Error): string {
  const parts: string[] = [];
  let current: unknown = error;
  for (let depth = 0; current !== undefined && depth <= MAX_CAUSES; depth++) {
    const text = current instanceof Error
      ? String(current.stack ?? `${typeOf(current)}: ${current.message}`)
      : String(current);
    parts.push(clip(text, MAX_STACK_LENGTH));
    current = current instanceof Error ? current.cause : undefined;
  }
  return parts.join("\nCaused by: ");
}

function clip(text: string, maxLength: number): string {
  if (text.length <= maxLength) return text.toWellFormed();
  return `${text.slice(0, maxLength).toWellFormed()}… (${text.length} characters)`;
}
