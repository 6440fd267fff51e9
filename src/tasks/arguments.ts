/** From the wire's body, Celery's `[args, kwargs, embed]`, to what a task's function is called with. */
import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { InputIssue } from "./task_error.ts";

export type ReadArguments =
  | { readonly kind: "arguments"; readonly values: unknown[] }
  | { readonly kind: "malformed"; readonly reason: string };

/**
 * The positional arguments, and after them the keyword arguments as one object unless they are empty.
 * `embed` (Celery's callbacks and chains) is not looked at.
 */
export function readArguments(body: string): ReadArguments {
  let triple: unknown;
  try {
    triple = JSON.parse(body);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const isPython = /\b(Infinity|NaN)\b/.test(why);
    return malformed(
      `it is not JSON: ${why.slice(0, 200)}` +
        (isPython ? " (Python writes Infinity and NaN, which JSON does not have)" : ""),
    );
  }
  if (!Array.isArray(triple) || triple.length !== 3) {
    return malformed("it is not Celery's triple [args, kwargs, embed]");
  }
  const [args, kwargs]: unknown[] = triple;
  if (!Array.isArray(args)) return malformed("its args are not an array");
  if (!isRecord(kwargs)) return malformed("its kwargs are not an object");
  const values: unknown[] = args;
  if (!isEmpty(kwargs)) values.push(kwargs);
  return { kind: "arguments", values };
}

export type CheckedInput =
  | { readonly kind: "valid"; readonly value: unknown }
  | { readonly kind: "invalid"; readonly issues: readonly InputIssue[] };

/**
 * Checks arguments by a task's schema: one alone as it is, several as an array. Without any, the
 * caller sent nothing or an empty object, which look alike on the wire: either may please the schema.
 */
export function checkInput(
  schema: StandardSchemaV1,
  values: readonly unknown[],
): CheckedInput | Promise<CheckedInput> {
  if (values.length > 1) return validate(schema, values);
  if (values.length === 1) return validate(schema, values[0]);
  return then(
    validate(schema, undefined),
    (absent) => absent.kind === "valid" ? absent : validate(schema, {}),
  );
}

/** Goes on at once where it can: most schemas answer synchronously. */
function then<A, B>(value: A | Promise<A>, next: (value: A) => B | Promise<B>): B | Promise<B> {
  return value instanceof Promise ? value.then(next) : next(value);
}

function validate(schema: StandardSchemaV1, value: unknown): CheckedInput | Promise<CheckedInput> {
  return then(
    schema["~standard"].validate(value),
    (result): CheckedInput =>
      result.issues
        ? { kind: "invalid", issues: result.issues.slice(0, MAX_ISSUES).map(plainIssue) }
        : { kind: "valid", value: result.value },
  );
}

/** More tell nobody anything, and the reply stays small. */
const MAX_ISSUES = 100;
/** Some libraries quote the input in their messages. */
const MAX_MESSAGE_LENGTH = 1_000;

function plainIssue({ message, path = [] }: StandardSchemaV1.Issue): InputIssue {
  return {
    message: String(message).slice(0, MAX_MESSAGE_LENGTH).toWellFormed(),
    path: path.map((part) => String(typeof part === "object" ? part.key : part)),
  };
}

function malformed(reason: string): ReadArguments {
  return { kind: "malformed", reason: `The body cannot be read: ${reason}` };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isEmpty(record: Record<string, unknown>): boolean {
  for (const _ in record) return false;
  return true;
}
