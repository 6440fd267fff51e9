/**
 * The way to the configuration: flags over variables over the file over defaults, every problem found
 * reported together, and one frozen value in the end. Called once, by the command line.
 */
import { dirname, resolve } from "node:path";
import type { Config, Mode } from "./config.ts";
import { createDraft, reasonOf } from "./draft.ts";
import type { ConfigProblem } from "./problem.ts";
import { buildConfig } from "./sections.ts";
import { settingOf, SETTINGS_FILE } from "./settings.ts";
import { type Flags, fromFile, fromFlags, fromVariables, type Gathered } from "./source.ts";
import type { Surroundings } from "./surroundings.ts";
import { readSettings } from "./values.ts";

export type Loaded =
  | { readonly kind: "loaded"; readonly config: Config }
  | { readonly kind: "refused"; readonly problems: readonly ConfigProblem[] };

/** Reads all of it for one command. Does not throw on what an operator may have got wrong. */
export function loadConfig(mode: Mode, flags: Flags, surroundings: Surroundings): Loaded {
  const byFlag = fromFlags(flags, surroundings.cwd);
  const byVariable = fromVariables(surroundings.env, surroundings.cwd);
  const byFile = readFile(byFlag, byVariable, surroundings);
  const given = new Map([...byFile.given, ...byVariable.given, ...byFlag.given]);
  const { values, problems: unreadable, unread } = readSettings(given);
  const problems = [
    ...strayFlags(mode, byFlag),
    ...byFlag.problems,
    ...byVariable.problems,
    ...byFile.problems,
    ...unreadable,
  ];
  const draft = createDraft(values, given, unread, surroundings, problems);
  const config = buildConfig(mode, draft, surroundings);
  return problems.length > 0
    ? { kind: "refused", problems }
    : { kind: "loaded", config: deepFreeze(config) };
}

function strayFlags(mode: Mode, { given }: Gathered): ConfigProblem[] {
  return [...given].flatMap(([key, { origin }]) => {
    const { modes } = settingOf(key);
    const message = `has no meaning for ${mode}; it belongs to ${modes.join(", ")}`;
    return modes.includes(mode) ? [] : [{ key, origin, message }];
  });
}

/** The file that a flag or variable names, or the one in the working folder if there is one. */
function readFile(byFlag: Gathered, byVariable: Gathered, surroundings: Surroundings): Gathered {
  const named = byFlag.given.get("config") ?? byVariable.given.get("config");
  const name = named?.texts.at(-1) ?? SETTINGS_FILE;
  const path = resolve(surroundings.cwd, name);
  const refused = (message: string): Gathered => ({
    given: new Map(),
    problems: [{ key: "config", message: `${name}: ${message}` }],
  });
  let text: string;
  try {
    text = surroundings.readText(path);
  } catch (error) {
    const reason = reasonOf(error);
    return named === undefined && reason === "there is none"
      ? { given: new Map(), problems: [] }
      : refused(`cannot read the file of settings: ${reason}`);
  }
  try {
    return fromFile(JSON.parse(text), name, dirname(path));
  } catch (error) {
    // The parser quotes what it finds, which may be a secret without its quotes.
    if (error instanceof SyntaxError) {
      return refused(`not JSON: ${error.message.replace(/ ["'].*$/s, "")}`);
    }
    throw error;
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
