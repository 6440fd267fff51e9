/** From the texts that were given to values: each setting by its own reader, all problems kept. */
import { resolve } from "node:path";
import type { ConfigProblem } from "./problem.ts";
import type { ListSetting, Setting, ValueSetting } from "./setting.ts";
import { SETTING_KEYS, type SettingKey, settingOf, type Values } from "./settings.ts";
import type { Given, GivenSettings } from "./source.ts";
import { readSwitch } from "./value.ts";

export interface ReadSettings {
  readonly values: Values;
  readonly problems: readonly ConfigProblem[];
  /** Settings whose value could not be read, and is its default here. */
  readonly unread: ReadonlySet<SettingKey>;
}

/** Reads every setting; what was not given, or cannot be read, is its default. */
export function readSettings(given: GivenSettings): ReadSettings {
  const problems: ConfigProblem[] = [];
  const unread = new Set<SettingKey>();
  const values: Partial<Record<SettingKey, unknown>> = {};
  for (const key of SETTING_KEYS) {
    const setting = settingOf(key);
    const source = given.get(key);
    const outcome = source === undefined ? undefined : readOne(setting, source);
    if (outcome !== undefined && "expected" in outcome) {
      const { expected, value } = outcome;
      problems.push({
        key,
        ...(source === undefined ? {} : { origin: source.origin }),
        ...(setting.isSecret ? {} : { value }),
        message: `expected ${expected}`,
      });
      unread.add(key);
    }
    values[key] = outcome !== undefined && "read" in outcome ? outcome.read : fallbackOf(setting);
  }
  return { values: values as Values, problems, unread };
}

type Outcome = { readonly read: unknown } | { readonly expected: string; readonly value: string };

function readOne(setting: Setting, given: Given): Outcome {
  switch (setting.kind) {
    case "switch": {
      const value = given.texts.at(-1) ?? "";
      const read = readSwitch(value);
      return read === undefined ? { expected: "true or false", value } : { read };
    }
    case "value": {
      const value = given.texts.at(-1) ?? "";
      const read = setting.reader.read(value);
      return read === undefined
        ? { expected: setting.reader.expected, value }
        : { read: placed(read, setting, given.baseDir) };
    }
    case "list": {
      const read: unknown[] = [];
      for (const text of itemsOf(setting, given)) {
        const item = setting.reader.read(text);
        if (item === undefined) return { expected: setting.reader.expected, value: text };
        read.push(placed(item, setting, given.baseDir));
      }
      return { read };
    }
  }
}

function itemsOf(setting: ListSetting<unknown>, given: Given): readonly string[] {
  const separator = given.origin.kind === "variable" ? setting.separator : setting.flagSeparator;
  return separator === undefined
    ? given.texts
    : given.texts.flatMap((text) => text.split(separator).map((item) => item.trim()));
}

/** Paths become absolute here, once. */
function placed(
  value: unknown,
  setting: ValueSetting<unknown, unknown> | ListSetting<unknown>,
  baseDir: string,
): unknown {
  return setting.isPath && typeof value === "string" ? resolve(baseDir, value) : value;
}

function fallbackOf(setting: Setting): unknown {
  return setting.kind === "list" ? undefined : setting.fallback;
}
