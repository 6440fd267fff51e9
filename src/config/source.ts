/** Gathers what was given for each setting, as text, from flags, variables and the file. Nothing is read. */
import type { ConfigProblem, Origin } from "./problem.ts";
import { flagOf, negatedFlagOf, variableOf } from "./setting.ts";
import { isSettingKey, SETTING_KEYS, type SettingKey, settingOf } from "./settings.ts";
import { didYouMean } from "./similar.ts";

/** What the command line gives: texts for values and lists, whether for switches. */
export type Flags = { readonly [K in SettingKey]?: readonly string[] | boolean | undefined };

/** What was given for one setting, from the source that counts. */
export interface Given {
  readonly origin: Origin;
  /** Folder that a relative path starts from. */
  readonly baseDir: string;
  /** Each flag, each item of the file's array; one text elsewhere. */
  readonly texts: readonly string[];
}

export type GivenSettings = ReadonlyMap<SettingKey, Given>;

export interface Gathered {
  readonly given: GivenSettings;
  readonly problems: readonly ConfigProblem[];
}

export function fromFlags(flags: Flags, cwd: string): Gathered {
  const given = new Map<SettingKey, Given>();
  const problems: ConfigProblem[] = [];
  for (const key of SETTING_KEYS) {
    const value = flags[key];
    if (value === undefined || (typeof value === "object" && value.length === 0)) continue;
    const name = value === false ? negatedFlagOf(key) : flagOf(key);
    const origin: Origin = { kind: "flag", name };
    const texts = typeof value === "boolean" ? [String(value)] : value;
    if (texts.length > 1 && settingOf(key).kind !== "list") {
      problems.push({ key, origin, message: `given ${texts.length} times, expected once` });
    }
    given.set(key, { origin, baseDir: cwd, texts });
  }
  return { given, problems };
}

const PREFIX = "COX_";

export function fromVariables(
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): Gathered {
  const known = new Map(
    SETTING_KEYS.filter((key) => settingOf(key).sources !== "flag").map((
      key,
    ) => [variableOf(key), key]),
  );
  const given = new Map<SettingKey, Given>();
  const problems: ConfigProblem[] = [];
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(PREFIX) || value === undefined) continue;
    const origin: Origin = { kind: "variable", name };
    const key = known.get(name);
    if (key === undefined) {
      problems.push({
        key: name,
        origin,
        message: `no such variable${didYouMean(name, known.keys(), PREFIX)}`,
      });
    } else if (value.trim() !== "" || settingOf(key).refusesBlank) {
      given.set(key, { origin, baseDir: cwd, texts: [value] });
    }
  }
  return { given, problems };
}

/** `content`: what the file holds, parsed. `path`: as it was named. */
export function fromFile(content: unknown, path: string, baseDir: string): Gathered {
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    const message = `${path}: expected a JSON object, such as {"port": 8888}`;
    return { given: new Map(), problems: [{ key: path, message }] };
  }
  const known = SETTING_KEYS.filter((key) => settingOf(key).sources === undefined);
  const given = new Map<SettingKey, Given>();
  const problems: ConfigProblem[] = [];
  for (const [key, value] of Object.entries(content)) {
    // Editors look for their schema there.
    if (key === "$schema") continue;
    const origin: Origin = { kind: "file", path, key };
    if (!isSettingKey(key) || !known.includes(key)) {
      problems.push({ key, origin, message: `no such setting${didYouMean(key, known)}` });
      continue;
    }
    const texts = textsOf(value, settingOf(key).kind);
    if (texts === undefined) {
      problems.push({
        key,
        origin,
        ...(settingOf(key).isSecret ? {} : { value: jsonOf(value) ?? "[nested too deeply]" }),
        message: `expected ${SHAPES[settingOf(key).kind]}`,
      });
    } else given.set(key, { origin, baseDir, texts });
  }
  return { given, problems };
}

const SHAPES = {
  value: "a text or a number",
  list: "an array of texts",
  switch: "true or false",
  structure: "JSON",
} as const;

function textsOf(value: unknown, kind: keyof typeof SHAPES): readonly string[] | undefined {
  switch (kind) {
    case "value":
      return typeof value === "string" || typeof value === "number" ? [`${value}`] : undefined;
    case "list":
      if (typeof value === "string") return [value];
      return Array.isArray(value) && value.every((item) => typeof item === "string")
        ? value
        : undefined;
    case "switch":
      return typeof value === "boolean" ? [String(value)] : undefined;
    case "structure": {
      const json = jsonOf(value);
      return json === undefined ? undefined : [json];
    }
  }
}

/** Undefined where it is nested more deeply than can be written. */
function jsonOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
