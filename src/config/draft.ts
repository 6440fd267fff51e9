/**
 * A configuration in the making: the values that were read, and the problems found so far. Sections
 * are built from it, and add what does not fit together.
 */
import type { ConfigProblem } from "./problem.ts";
import type { SettingKey, Values } from "./settings.ts";
import type { GivenSettings } from "./source.ts";
import type { Surroundings } from "./surroundings.ts";

export interface Draft {
  readonly values: Values;
  readonly given: GivenSettings;
  /** A problem of several settings; silent where one of them could not be read anyway. */
  refuse(keys: readonly SettingKey[], message: string): void;
  /** A problem of one setting's value. */
  refuseValue(key: SettingKey, value: string | undefined, message: string): void;
  /** The content of a file that a setting names; a problem where it cannot be read. */
  readFile(key: SettingKey, path: string | undefined): string | undefined;
}

/** @param problems where problems are added. */
export function createDraft(
  values: Values,
  given: GivenSettings,
  unread: ReadonlySet<SettingKey>,
  surroundings: Surroundings,
  problems: ConfigProblem[],
): Draft {
  const failed = new Set(unread);
  const refuseValue: Draft["refuseValue"] = (key, value, message) => {
    failed.add(key);
    const origin = given.get(key)?.origin;
    problems.push({
      key,
      message,
      ...(value === undefined ? {} : { value }),
      ...(origin === undefined ? {} : { origin }),
    });
  };
  return {
    values,
    given,
    refuseValue,
    refuse(keys, message) {
      if (keys.some((key) => failed.has(key))) return;
      problems.push({ key: keys.join(", "), message });
    },
    readFile(key, path) {
      if (path === undefined) return undefined;
      try {
        return surroundings.readText(path);
      } catch (error) {
        refuseValue(key, path, `cannot read the file: ${reasonOf(error)}`);
        return undefined;
      }
    },
  };
}

/** Why a file cannot be read, in a few words. */
export function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  switch (code) {
    case "ENOENT":
      return "there is none";
    case "EISDIR":
      return "it is a folder";
    case "EACCES":
      return "permission denied";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
