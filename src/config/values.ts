/** From the texts that were given to values: each setting by its own reader, all problems kept. */
import { resolve } from "node:path";
import type { ConfigProblem, Origin } from "./problem.ts";
import type { Fault, ListSetting, Setting, ValueSetting } from "./setting.ts";
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
    if (outcome !== undefined && "faults" in outcome) {
      problems.push(...outcome.faults.map((fault) => faultProblem(key, source?.origin, fault)));
      unread.add(key);
    }
    values[key] = outcome !== undefined && "read" in outcome ? outcome.read : fallbackOf(setting);
  }
  return { values: values as Values, problems, unread };
}

type Outcome =
  | { readonly read: unknown }
  | { readonly expected: string; readonly value: string }
  | { readonly faults: readonly Fault[] };

/** In the file the place is part of the key; elsewhere the message names it. */
function faultProblem(key: SettingKey, origin: Origin | undefined, fault: Fault): ConfigProblem {
  const { path, value, message } = fault;
  const shown = value === undefined ? {} : { value };
  if (origin?.kind === "file") {
    const place = [origin.key, ...path.map(step)].join("");
    return { key, origin: { ...origin, key: place }, ...shown, message };
  }
  const place = path.map(step).join("").replace(/^\./, "");
  return {
    key,
    ...(origin === undefined ? {} : { origin }),
    ...shown,
    message: place === "" ? message : `${place}: ${message}`,
  };
}

function step(name: string): string {
  return /^[\w-]+$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`;
}

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
    case "structure": {
      const value = given.texts.at(-1) ?? "";
      const { reader } = setting;
      let parsed: unknown;
      try {
        parsed = JSON.parse(value);
      } catch (error) {
        if (error instanceof SyntaxError) return { expected: reader.expected, value };
        throw error;
      }
      const read = reader.read(parsed);
      return "faults" in read ? read : { read: read.value };
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
  return setting.kind === "list" || setting.kind === "structure" ? undefined : setting.fallback;
}
