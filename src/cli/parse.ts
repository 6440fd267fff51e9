/**
 * From the words of a command line to a command with its configuration, or to the text that is to be
 * printed instead. No effects: what it reads is in the surroundings that it is given.
 */
import { runParserSync } from "@optique/core/facade";
import { parseSync } from "@optique/core/parser";
import type { Config, ListConfig, Mode, PublishConfig, SubscribeConfig } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { formatProblems } from "../config/problem.ts";
import { flagOf, negatedFlagOf } from "../config/setting.ts";
import { SETTING_KEYS, settingOf } from "../config/settings.ts";
import { problemOfPattern } from "../pubsub/channel_name.ts";
import type { Surroundings } from "../config/surroundings.ts";
import { VERSION } from "../version.ts";
import type { Command, Parsed } from "./command.ts";
import { PROGRAM_BRIEF, PROGRAM_NOTES } from "./commands.ts";
import { readDevicesWords } from "./devices_command.ts";
import { EXIT } from "./exit_code.ts";
import { readRecordsWords } from "./records_words.ts";
import { QUEUE_ACTIONS } from "./queues_command.ts";
import { commandParser, MODES, paragraphs, programParser, type Words } from "./parser.ts";

export interface Terminal {
  /** What the user calls the program. */
  readonly programName: string;
  /** Columns of the terminal; absent where there is none. */
  readonly columns?: number;
}

const NODE_MODES: ReadonlySet<Mode> = new Set(["all", "serve", "work"]);

/** Parses the arguments, without the program's own name. */
export function parseCommandLine(
  args: readonly string[],
  terminal: Terminal,
  surroundings: Surroundings,
): Parsed {
  // Nothing asked for: the same help, but a script that forgot its command must not go on.
  if (args.length === 0) {
    const help = takeApart(["--help"], terminal);
    if ("text" in help) return { ...help.text, exitCode: EXIT.wrongUsage };
  }
  const apart = takeApart(args, terminal);
  if ("text" in apart) return apart.text;
  const { mode, flags } = apart.words;
  const loaded = loadConfig(mode, flags, surroundings);
  switch (loaded.kind) {
    case "loaded": {
      const command = commandOf(loaded.config, apart.words);
      return "mistake" in command
        ? wrongUsage(command.mistake, helpHint(terminal.programName, mode))
        : { kind: "command", command };
    }
    case "refused":
      return wrongUsage(
        `Cannot ${NODE_MODES.has(mode) ? "start" : "run"} ${mode}: ${
          loaded.problems.length === 1
            ? "there is a problem with its settings"
            : `there are ${loaded.problems.length} problems with its settings`
        }\n${formatProblems(loaded.problems)}`,
        helpHint(terminal.programName, mode),
      );
  }
}

type Apart = { readonly words: Words } | { readonly text: Extract<Parsed, { kind: "text" }> };

function takeApart(args: readonly string[], terminal: Terminal): Apart {
  const mode = MODES.find((one) => one === args[0]);
  if (mode !== undefined) {
    // The usual case first, for a node's start waits for it; help and mistakes need the whole.
    const grammar = commandParser(mode, terminal.programName, mentioned(args));
    const result = parseSync(grammar, expand(args));
    if (result.success) return { words: result.value };
  }
  return takeApartOrTell(args, mode, terminal);
}

/** Settings whose flags stand on the command line. */
function mentioned(args: readonly string[]): typeof SETTING_KEYS {
  const names = new Set(args.map((word) => word.split("=", 1)[0]));
  return SETTING_KEYS.filter((key) => names.has(flagOf(key)) || names.has(negatedFlagOf(key)));
}

function takeApartOrTell(
  args: readonly string[],
  mode: Mode | undefined,
  { programName, columns }: Terminal,
): Apart {
  const parser = mode === undefined ? programParser(programName) : commandParser(mode, programName);
  const stdout: string[] = [];
  const stderr: string[] = [];
  const show = (exitCode: number): Apart => ({ text: textOf(exitCode, stdout, stderr) });
  const words = runParserSync<typeof parser, Apart, Apart>(parser, programName, expand(args), {
    brief: [{ type: "text", text: PROGRAM_BRIEF }],
    footer: paragraphs([...PROGRAM_NOTES, helpHint(programName, "COMMAND")]),
    help: { option: { names: ["--help", "-h"] }, onShow: show },
    version: { value: VERSION, option: { names: ["--version"] }, onShow: show },
    completion: { command: true, onShow: show },
    onError: () => {
      const message = withoutValues(stderr.join("\n").replace(/^Error: /, ""));
      return { text: wrongUsage(message, ...hints(message), helpHint(programName, mode)) };
    },
    aboveError: "none",
    commandList: "top-level",
    usageLine: [{ type: "literal", value: "COMMAND [FLAGS]" }],
    stdout: (line) => stdout.push(line),
    stderr: (line) => stderr.push(line),
    ...(columns === undefined ? {} : { maxWidth: Math.max(columns, 60) }),
    termWidth: "auto",
  });
  return isApart(words) ? words : { words };
}

/** The parser's own type says nothing of what its callbacks return. */
function isApart(value: Words | Apart): value is Apart {
  return "text" in value || "words" in value;
}

/** `--tasks a b` is `--tasks a --tasks b`, which is how a flag that may be repeated is taken apart. */
export function expand(args: readonly string[]): readonly string[] {
  const many = new Set(SETTING_KEYS.filter((key) => takesMany(key)).map(flagOf));
  const expanded: string[] = [];
  let current: string | undefined;
  for (const [index, word] of args.entries()) {
    const name = word.split("=", 1)[0] ?? word;
    if (word.startsWith("-")) current = many.has(name) ? name : undefined;
    else if (current !== undefined && expanded.at(-1) !== current) expanded.push(current);
    expanded.push(word);
    if (word === "--") return [...expanded, ...args.slice(index + 1)];
  }
  return expanded;
}

function takesMany(key: typeof SETTING_KEYS[number]): boolean {
  const setting = settingOf(key);
  return setting.kind === "list" && setting.takesMany === true;
}

function commandOf(config: Config, words: Words): Command | { readonly mistake: string } {
  switch (config.mode) {
    case "all":
    case "serve":
    case "work":
      return { kind: "node", config };
    case "call":
      return {
        kind: "call",
        config,
        task: words.task ?? "",
        ...(words.input === undefined ? {} : { input: words.input }),
      };
    case "bench":
      return {
        kind: "bench",
        config,
        task: words.task ?? "",
        ...(words.input === undefined ? {} : { input: words.input }),
      };
    case "tasks":
    case "nodes":
      return { kind: "list", config };
    case "queues":
      return queuesCommand(config, words.rest ?? []);
    case "devices": {
      const read = readDevicesWords(words.rest ?? []);
      return "mistake" in read ? read : { kind: "devices", config, action: read.action };
    }
    case "publish":
      return publishCommand(config, words.rest ?? []);
    case "subscribe":
      return subscribeCommand(config, words.rest ?? []);
    case "job":
    case "dead-letters":
    case "schedules": {
      const read = readRecordsWords(config, words.rest ?? []);
      return "mistake" in read ? read : { kind: "records", config, action: read.action };
    }
  }
}

function queuesCommand(
  config: ListConfig,
  [action, queue, ...more]: readonly string[],
): Command | { readonly mistake: string } {
  if (action === undefined) return { kind: "list", config };
  const known = QUEUE_ACTIONS.find((one) => one === action);
  if (known === undefined) {
    return {
      mistake: `"${action}" cannot be done with a queue: there are ${QUEUE_ACTIONS.join(", ")}`,
    };
  }
  if (queue === undefined) return { mistake: `Which queue is to be ${known}d?` };
  if (more.length > 0) return { mistake: `One queue at a time: "${more.join(" ")}" is too much` };
  return { kind: "steer", config, action: known, queue };
}

function publishCommand(
  config: PublishConfig,
  words: readonly string[],
): Command | { readonly mistake: string } {
  const [first, second] = words;
  if (config.exchange !== undefined) {
    return first === undefined || words.length > 1
      ? { mistake: "With --exchange, one MESSAGE is expected; quote it where it has spaces" }
      : { kind: "publish", config, message: first };
  }
  return first === undefined || second === undefined || words.length > 2
    ? { mistake: "Expected --exchange NAME and a MESSAGE, or a CHANNEL and a MESSAGE" }
    : { kind: "publish", config, channel: first, message: second };
}

function subscribeCommand(
  config: SubscribeConfig,
  [pattern, ...more]: readonly string[],
): Command | { readonly mistake: string } {
  if (pattern === undefined || more.length > 0) {
    return {
      mistake: 'One PATTERN is expected; quote it, for shells have a meaning for "*" and "#"',
    };
  }
  const problem = problemOfPattern(pattern);
  return problem === undefined
    ? { kind: "subscribe", config, pattern }
    : { mistake: `Channel ${JSON.stringify(pattern)} ${problem}` };
}

function helpHint(programName: string, mode?: string): string {
  return mode === undefined
    ? `Run "${programName} --help" for the commands.`
    : `Run "${programName} ${mode} --help" for its flags and examples.`;
}

/** A number below zero looks like a flag. */
/** A misspelt option may hold a secret behind its "=". */
function withoutValues(message: string): string {
  return message.replace(/(--[\w-]+)=[^"`\n]*/g, "$1=…");
}

function hints(message: string): readonly string[] {
  const number = /"(-\d[^"]*)"/.exec(message)?.[1];
  return number === undefined
    ? []
    : [`Write -- before an input that begins with "-": -- ${number}`];
}

function wrongUsage(...lines: readonly string[]): Extract<Parsed, { kind: "text" }> {
  return textOf(EXIT.wrongUsage, [], lines);
}

function textOf(
  exitCode: number,
  stdout: readonly string[],
  stderr: readonly string[],
): Extract<Parsed, { kind: "text" }> {
  const lines = (texts: readonly string[]) => texts.map((one) => `${one}\n`).join("");
  return { kind: "text", exitCode, stdout: lines(stdout), stderr: lines(stderr) };
}
