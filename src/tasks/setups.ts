/** Runs an isolate's set-ups before its first attempt, and their teardowns after its last. */
import { describeFailure } from "./failure.ts";
import type { TaskRegistry } from "./registry.ts";

/** A set-up failed, or gave what cannot be used; the message names its file. */
export class SetupError extends Error {
  override readonly name = "SetupError";
  readonly file: string;

  constructor(file: string, reason: string, options: { readonly cause?: unknown } = {}) {
    super(`The set-up in ${file} failed: ${reason}`, options);
    this.file = file;
  }
}

/**
 * Runs the set-ups one after the other, in the order of their definition, and puts what they make into
 * the registry's settings.
 * @throws SetupError
 */
export async function runSetups({ setups, settings }: TaskRegistry): Promise<void> {
  for (const { file, run } of setups) {
    let made: unknown;
    try {
      made = await run();
    } catch (error) {
      const { type, message } = describeFailure(error);
      throw new SetupError(file, `${type}: ${message}`, { cause: error });
    }
    if (made === undefined || made === null) continue;
    if (!isPlainObject(made)) {
      throw new SetupError(file, "it must return a plain object, such as { db }, or nothing");
    }
    for (const [name, value] of Object.entries(made)) {
      if (Object.hasOwn(settings, name)) {
        throw new SetupError(file, `another set-up has already made context.settings.${name}`);
      }
      settings[name] = value;
    }
  }
}

/** Runs all teardowns, the last set-up's first, and tells which failed. Never throws. */
export async function runTeardowns({ setups, settings }: TaskRegistry): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const { file, teardown } of setups.toReversed()) {
    try {
      await teardown?.(settings);
    } catch (error) {
      const { type, message } = describeFailure(error);
      problems.push(`The teardown in ${file} failed: ${type}: ${message}`);
    }
  }
  return problems;
}

/** Instances would lose their methods when their properties are taken out. */
function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
