/** What a setting is, and how its key becomes a flag and a variable. The settings are in settings.ts. */
import type { Mode } from "./config.ts";
import type { ValueReader } from "./value.ts";

/** Headings of the help, in their order. */
export const GROUPS = [
  "Call",
  "Front",
  "Devices",
  "Broker",
  "Jobs",
  "Worker",
  "Node",
  "Log",
] as const;
export type Group = typeof GROUPS[number];

interface SettingBase {
  readonly group: Group;
  /** The commands in which it has a meaning; elsewhere its flag is refused. */
  readonly modes: readonly Mode[];
  /** One line, without the default. Of a switch: what the flag that changes the default does. */
  readonly help: string;
  /** Another line where it means another thing in one command. */
  readonly helpIn?: Partial<Record<Mode, string>>;
  /** How help writes the default, where the value itself would not do. */
  readonly defaultText?: string | Partial<Record<Mode, string>>;
  /** The value is never shown: not in problems, not in logs. */
  readonly isSecret?: true;
  /** A blank variable is a problem; elsewhere it is as if it were not set. */
  readonly refusesBlank?: true;
  /** Where it may be given besides flags. Default: in a variable and in the file. */
  readonly sources?: "flag" | "flag and variable";
}

export interface ValueSetting<T, D> extends SettingBase {
  readonly kind: "value";
  readonly reader: ValueReader<T>;
  readonly fallback: D;
  /** The value is a path: from the file it is relative to the file's folder. */
  readonly isPath?: true;
}

/** A flag that may be repeated, an array in the file. */
export interface ListSetting<T> extends SettingBase {
  readonly kind: "list";
  readonly reader: ValueReader<T>;
  /** What parts the items in a variable. */
  readonly separator: string;
  /** What parts the items in one flag or one text of the file; absent: each is one item. */
  readonly flagSeparator?: string;
  /** One flag takes all the words that follow it. */
  readonly takesMany?: true;
  readonly isPath?: true;
}

/** On or off; on the command line `--name` and `--no-name`. */
export interface SwitchSetting extends SettingBase {
  readonly kind: "switch";
  readonly fallback: boolean;
  /** Another default in one command. */
  readonly fallbackIn?: Partial<Record<Mode, boolean>>;
}

/** One thing that is wrong with a structure: where in it, what stands there, what was expected. */
export interface Fault {
  readonly path: readonly string[];
  readonly value?: string;
  readonly message: string;
}

/** Reads a structure that was parsed from JSON, and finds all that is wrong with it. */
export interface StructureReader<T> {
  readonly expected: string;
  readonly metavar: string;
  readonly choices?: readonly string[];
  read(given: unknown): { readonly value: T } | { readonly faults: readonly Fault[] };
}

/** A structure: as it is in the file, as JSON text in a variable or a flag. */
export interface StructureSetting<T> extends SettingBase {
  readonly kind: "structure";
  readonly reader: StructureReader<T>;
  readonly isPath?: never;
}

export type Setting =
  | ValueSetting<unknown, unknown>
  | ListSetting<unknown>
  | SwitchSetting
  | StructureSetting<unknown>;

/** What a setting comes out as. */
export type ValueOf<S> = S extends SwitchSetting ? boolean
  : S extends ListSetting<infer T> ? readonly T[] | undefined
  : S extends StructureSetting<infer T> ? T | undefined
  : S extends ValueSetting<infer T, infer D> ? T | D
  : never;

/** `amqpUrl` is `--amqp-url`. */
export function flagOf(key: string): string {
  return `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** `demo` is turned off by `--no-demo`. */
export function negatedFlagOf(key: string): string {
  return `--no-${flagOf(key).slice(2)}`;
}

/** `amqpUrl` is `COX_AMQP_URL`. */
export function variableOf(key: string): string {
  return `COX_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}
