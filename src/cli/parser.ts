/**
 * The command line's grammar, made from the commands and the table of settings. It only takes words
 * apart: values stay texts, which src/config reads together with those from variables and the file.
 */
import { group, object, or } from "@optique/core/constructs";
import { lineBreak, type Message, text } from "@optique/core/message";
import { map, multiple, optional } from "@optique/core/modifiers";
import { ensureNonEmptyString, type NonEmptyString } from "@optique/core/nonempty";
import type { Parser, Suggestion } from "@optique/core/parser";
import { argument, command, constant, flag, option } from "@optique/core/primitives";
import type { ValueParser } from "@optique/core/valueparser";
import type { Mode } from "../config/config.ts";
import { flagOf, GROUPS, negatedFlagOf, type Setting } from "../config/setting.ts";
import { SETTING_KEYS, type SettingKey, settingOf } from "../config/settings.ts";
import type { Flags } from "../config/source.ts";
import { COMMANDS } from "./commands.ts";

/** A command line taken apart. */
export interface Words {
  readonly mode: Mode;
  readonly flags: Flags;
  /** TASK of `call`. */
  readonly task?: string | undefined;
  /** INPUT of `call`. */
  readonly input?: string | undefined;
  /** What follows `queues`, `devices`, `publish`, `subscribe`, `job`, `dead-letters` and `schedules`. */
  readonly rest?: readonly string[];
}

export type WordsParser = Parser<"sync", Words, unknown>;
type FlagParser = Parser<"sync", readonly string[] | boolean | undefined, unknown>;

export const MODES: readonly Mode[] = [
  "all",
  "serve",
  "work",
  "call",
  "publish",
  "subscribe",
  "tasks",
  "nodes",
  "queues",
  "devices",
  "job",
  "dead-letters",
  "schedules",
  "bench",
];

/** All commands: for help, completion, and words that are no command. */
export function programParser(programName: string): WordsParser {
  return or(
    commandParser("all", programName),
    commandParser("serve", programName),
    commandParser("work", programName),
    commandParser("call", programName),
    commandParser("publish", programName),
    commandParser("subscribe", programName),
    commandParser("tasks", programName),
    commandParser("nodes", programName),
    commandParser("queues", programName),
    commandParser("devices", programName),
    commandParser("job", programName),
    commandParser("dead-letters", programName),
    commandParser("schedules", programName),
    commandParser("bench", programName),
  );
}

/**
 * One command: made sooner than all of them, and it can say which flag a misspelt one may mean.
 * @param keys the settings whose flags it knows. A grammar of those flags alone that a command line
 *   has takes that line apart as the whole one does, several times faster.
 */
export function commandParser(
  mode: Mode,
  programName: string,
  keys: readonly SettingKey[] = SETTING_KEYS,
): WordsParser {
  const { brief, description, examples, usage } = COMMANDS[mode];
  const flags = flagsParser(mode, keys);
  const words = wordsParser(mode, flags);
  return command(mode, words, {
    brief: [text(brief)],
    description: paragraphs(description),
    footer: examplesOf(examples, programName),
    usageLine: [{ type: "literal", value: usage }],
  });
}

function wordsParser(mode: Mode, flags: Parser<"sync", Flags, unknown>): WordsParser {
  switch (mode) {
    case "call":
    case "bench":
      return object({
        mode: constant(mode),
        flags,
        task: argument(word("TASK"), { description: [text("name of the task")] }),
        input: optional(argument(word("INPUT"), {
          description: [text("JSON to call it with; - reads it from stdin [no argument]")],
        })),
      });
    case "publish":
      return object({
        mode: constant(mode),
        flags,
        rest: multiple(argument(word("MESSAGE"), {
          description: [
            text(
              "JSON, or a text; - reads it from stdin. Without --exchange, the channel before it",
            ),
          ],
        })),
      });
    case "subscribe":
      return object({
        mode: constant(mode),
        flags,
        rest: multiple(argument(word("PATTERN"), {
          description: [text("channel, or a pattern with * (one word) and # (none or more)")],
        })),
      });
    case "queues":
      return object({
        mode: constant(mode),
        flags,
        rest: multiple(argument(word("ACTION QUEUE"), {
          description: [text("pause, resume or purge, and the name of a queue [list them]")],
        })),
      });
    case "devices":
      return object({
        mode: constant(mode),
        flags,
        rest: multiple(argument(word("ACTION …"), {
          description: [text("list, show ID or send ID LINE [list]")],
        })),
      });
    case "job":
    case "dead-letters":
    case "schedules":
      return object({
        mode: constant(mode),
        flags,
        rest: multiple(argument(word("ACTION …"), {
          description: [text(RECORD_WORDS[mode])],
        })),
      });
    case "all":
    case "serve":
    case "work":
    case "tasks":
    case "nodes":
      return object({ mode: constant(mode), flags });
  }
}

const RECORD_WORDS = {
  job: "submit TASK [INPUT], get ID, list, cancel ID, retry ID or watch ID",
  "dead-letters": "list, show ID, retry [ID] or purge [ID] [list]",
  schedules: "list, run NAME, pause NAME or resume NAME [list]",
} as const;

/**
 * Flags of all settings, those without a meaning here hidden: they are known, so that they can be
 * refused with the reason instead of as a misspelling.
 */
function flagsParser(mode: Mode, known: readonly SettingKey[]): Parser<"sync", Flags, unknown> {
  const groups: Record<string, Parser<"sync", Readonly<Record<string, unknown>>, unknown>> = {};
  for (const name of GROUPS) {
    const keys = known.filter((key) => settingOf(key).group === name);
    const shown = keys.filter((key) => settingOf(key).modes.includes(mode));
    const hidden = keys.filter((key) => !settingOf(key).modes.includes(mode));
    if (shown.length > 0) groups[name] = group(name, object(flagParsers(shown, mode, false)));
    if (hidden.length > 0) groups[`${name} elsewhere`] = object(flagParsers(hidden, mode, true));
  }
  return map(object(groups), (given) => collectFlags(Object.values(given)));
}

const NEGATION = "no ";

function flagParsers(
  keys: readonly SettingKey[],
  mode: Mode,
  isHidden: boolean,
): Record<string, FlagParser> {
  const parsers: Record<string, FlagParser> = {};
  for (const key of keys) {
    const setting = settingOf(key);
    const description = [text(helpOf(setting, mode))];
    if (setting.kind === "switch") {
      // The one that changes the default is shown; the other is for undoing a variable.
      const [yes, no] = [flagOf(key), negatedFlagOf(key)] as const;
      const hide = (changes: boolean) => isHidden || !changes;
      const fallback = setting.fallbackIn?.[mode] ?? setting.fallback;
      parsers[key] = optional(
        flag(asOption(yes), { description, hidden: hide(!fallback) }),
      );
      parsers[NEGATION + key] = optional(
        flag(asOption(no), { description, hidden: hide(fallback) }),
      );
    } else {
      parsers[key] = multiple(
        option(asOption(flagOf(key)), valueOf(setting), { description, hidden: isHidden }),
      );
    }
  }
  return parsers;
}

/** The same, in Optique's type for an option's name. */
function asOption(name: string): `--${NonEmptyString}` {
  return `--${nonEmpty(name.slice(2))}`;
}

function nonEmpty(text: string): NonEmptyString {
  ensureNonEmptyString(text);
  return text;
}

function collectFlags(groups: readonly Readonly<Record<string, unknown>>[]): Flags {
  const given: Readonly<Record<string, unknown>> = Object.assign({}, ...groups);
  const flags: { [K in SettingKey]?: readonly string[] | boolean } = {};
  for (const key of SETTING_KEYS) {
    const value: unknown = given[key];
    if (value === true) flags[key] = true;
    else if (given[NEGATION + key] === true) flags[key] = false;
    else if (Array.isArray(value) && value.length > 0) flags[key] = value.map(String);
  }
  return flags;
}

/** Takes any text; it is read later. Completion knows choices, and that paths are paths. */
function valueOf(setting: Exclude<Setting, { kind: "switch" }>): ValueParser<"sync", string> {
  const { metavar, choices } = setting.reader;
  return {
    ...word(metavar),
    *suggest(prefix: string): Iterable<Suggestion> {
      for (const choice of choices ?? []) {
        if (choice.startsWith(prefix)) yield { kind: "literal", text: choice };
      }
      if (setting.isPath) yield { kind: "file", type: "any", prefix };
    },
  };
}

function word(metavar: string): ValueParser<"sync", string> {
  return {
    mode: "sync",
    metavar: nonEmpty(metavar),
    placeholder: "",
    parse: (value) => ({ success: true, value }),
    format: (value) => value,
  };
}

/** The setting's line of help with its default. */
export function helpOf(setting: Setting, mode: Mode): string {
  const help = setting.helpIn?.[mode] ?? setting.help;
  const fallback = defaultOf(setting, mode);
  return fallback === undefined ? help : `${help} [${fallback}]`;
}

function defaultOf(setting: Setting, mode: Mode): string | undefined {
  const { defaultText } = setting;
  if (typeof defaultText === "string") return defaultText;
  if (defaultText !== undefined) return defaultText[mode];
  return setting.kind === "value" && setting.fallback !== undefined
    ? `${setting.fallback}`
    : undefined;
}

export function paragraphs(texts: readonly string[]): Message {
  return texts.flatMap((one, index) => index === 0 ? [text(one)] : [text("\n\n"), text(one)]);
}

function examplesOf(
  examples: readonly (readonly [command: string, purpose: string])[],
  programName: string,
): Message {
  const lines = examples.flatMap(([line, purpose]) => [
    lineBreak(),
    text(`  # ${purpose}`),
    lineBreak(),
    text(`  ${line.replace(/^app\b/, programName)}`),
  ]);
  return [text("Examples:"), ...lines];
}
