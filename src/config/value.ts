/** How the text of one setting is read. Not which settings there are, and not where texts come from. */
import { parseDuration } from "../lifecycle/duration.ts";

/** Reads one text; the same for flags, variables and the file. */
export interface ValueReader<T> {
  /** What the text must be, as it follows "expected". */
  readonly expected: string;
  /** How help calls the value, e.g. "PORT". */
  readonly metavar: string;
  /** All texts that are right, where they can be counted: for completion. */
  readonly choices?: readonly string[];
  /** The value, or undefined where the text is not what is expected. */
  read(text: string): T | undefined;
}

/** Any text but a blank one. */
export function text(metavar: string, expected = "a text that is not blank"): ValueReader<string> {
  return { metavar, expected, read: (given) => given.trim() === "" ? undefined : given };
}

/** A text that matches a pattern. */
export function matching(metavar: string, pattern: RegExp, expected: string): ValueReader<string> {
  return { metavar, expected, read: (given) => pattern.test(given) ? given : undefined };
}

export function wholeNumber(
  { metavar = "N", min, max = Number.MAX_SAFE_INTEGER }: {
    metavar?: string;
    min: number;
    max?: number;
  },
): ValueReader<number> {
  return {
    metavar,
    expected: max === Number.MAX_SAFE_INTEGER
      ? `a whole number from ${min}`
      : `a whole number from ${min} to ${max}`,
    read(given) {
      if (!/^\d{1,16}$/.test(given.trim())) return undefined;
      const value = Number(given);
      return value >= min && value <= max ? value : undefined;
    },
  };
}

/** A TCP port; 0 is any free one where the program listens. */
export function port({ min }: { min: 0 | 1 }): ValueReader<number> {
  return wholeNumber({ metavar: "PORT", min, max: 65_535 });
}

/** One of a few words, in any case. `aliases` are read too, and not offered. */
export function choice<const T extends string>(
  metavar: string,
  choices: readonly T[],
  aliases: Readonly<Record<string, T>> = {},
): ValueReader<T> {
  return {
    metavar,
    choices,
    expected: `one of ${choices.join(", ")}`,
    read(given) {
      const word = given.trim().toLowerCase();
      return choices.find((one) => one === word) ??
        (Object.hasOwn(aliases, word) ? aliases[word] : undefined);
    },
  };
}

/** A word, or what another reader reads. */
export function wordOr<const W extends string, T>(
  word: W,
  other: ValueReader<T>,
): ValueReader<W | T> {
  return {
    metavar: `${other.metavar}|${word}`,
    expected: `${other.expected}, or "${word}"`,
    read: (given) => given.trim().toLowerCase() === word ? word : other.read(given),
  };
}

/** Milliseconds of "500ms", "3s", "2m", "1h", "7d"; a bare number is seconds. */
export function duration(
  { minMs = 0, maxMs }: { minMs?: number; maxMs?: number } = {},
): ValueReader<number> {
  return {
    metavar: "DURATION",
    expected: (minMs > 0 ? "a duration longer than nothing" : "a duration") +
      ' such as "500ms", "3s" or "2m" (a bare number is seconds)',
    read(given) {
      const bare = /^\d+(\.\d+)?$/.test(given.trim());
      const durationMs = durationOf(bare ? `${given.trim()}s` : given, maxMs);
      return durationMs !== undefined && durationMs >= minMs ? durationMs : undefined;
    },
  };
}

/** How often something happens at beats, which come each second; 0 is never. */
export const beatsOrOff: ValueReader<number> = {
  metavar: "DURATION",
  expected: 'a duration from 1s such as "5s" or "2m" (a bare number is seconds), or 0',
  read(given) {
    const durationMs = duration().read(given);
    return durationMs === 0 || (durationMs ?? 0) >= 1_000 ? durationMs : undefined;
  },
};

function durationOf(given: string, maxMs?: number): number | undefined {
  try {
    return parseDuration(given, maxMs);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

const UNIT_BYTES: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1_000,
  mb: 1_000_000,
  gb: 1_000_000_000,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  // As docker and systemd read them.
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
};

/** Bytes of "512KiB", "12MiB", "1MB", "512M" (as "512MiB") or "65536". */
export function size({ minBytes, maxBytes }: { minBytes: number; maxBytes: number }): ValueReader<
  number
> {
  return {
    metavar: "SIZE",
    expected: `a size from ${formatBytes(minBytes)} to ${formatBytes(maxBytes)}, ` +
      'such as "512KiB" or "12MiB"',
    read(given) {
      const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(given.trim());
      const unitBytes = UNIT_BYTES[match?.[2]?.toLowerCase() ?? ""];
      if (!match || unitBytes === undefined) return undefined;
      const bytes = Math.ceil(Number(match[1]) * unitBytes);
      return bytes >= minBytes && bytes <= maxBytes ? bytes : undefined;
    },
  };
}

/** Bytes in the largest binary unit that divides them: 12582912 is "12MiB". */
export function formatBytes(bytes: number): string {
  const units = [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]] as const;
  const fitting = units.find(([, unitBytes]) => bytes >= unitBytes && bytes % unitBytes === 0);
  return fitting ? `${bytes / fitting[1]}${fitting[0]}` : `${bytes}B`;
}

/** A URL of one of some schemes, with a host. Kept as it was written. */
export function urlOf(schemes: readonly string[], example: string): ValueReader<string> {
  return {
    metavar: "URL",
    expected: `a URL such as ${example}`,
    read(given) {
      const trimmed = given.trim();
      if (!URL.canParse(trimmed)) return undefined;
      const { protocol, hostname } = new URL(trimmed);
      return schemes.includes(protocol) && hostname !== "" ? trimmed : undefined;
    },
  };
}

/** `NAME: VALUE`, as HTTP writes a header; the name comes out in lower case. */
export const taskHeader: ValueReader<readonly [string, string]> = {
  metavar: "NAME:VALUE",
  expected:
    'a header for a task such as "x-user: 7": its name begins with x-, or is traceparent, ' +
    "tracestate or baggage",
  read(given) {
    // RFC 9110, section 5.1: a name is a token. A front hands no other names on to a task.
    const match =
      /^(x-[!#$%&'*+.^_`|~0-9a-z-]+|traceparent|tracestate|baggage):[ \t]*([^\r\n\0]*)$/i
        .exec(given);
    return match?.[1] === undefined ? undefined : [match[1].toLowerCase(), match[2] ?? ""];
  },
};

/** `NAME:VALUE` of a message's header; AMQP's short strings limit the name. */
export const messageHeader: ValueReader<readonly [string, string]> = {
  metavar: "NAME:VALUE",
  expected: "a header such as color:red, its name of up to 255 bytes",
  read(given) {
    const [, name = "", value = ""] = /^([^:]+):(.*)$/s.exec(given) ?? [];
    const bytes = new TextEncoder().encode(name.trim()).length;
    return bytes > 0 && bytes <= 255 ? [name.trim(), value.trim()] : undefined;
  },
};

/** The name of a queue: an AMQP short string (AMQP 0-9-1, section 4.2.5.3), without commas. */
export const queueName: ValueReader<string> = {
  metavar: "QUEUE",
  expected: "the name of a queue, at most 255 bytes, without commas",
  read(given) {
    const name = given.trim();
    const bytes = new TextEncoder().encode(name).length;
    return bytes > 0 && bytes <= 255 && !/[,\p{Cc}]/u.test(name) ? name : undefined;
  },
};

/** The name of an exchange that is declared by us and others: an AMQP short string. */
export const exchangeName: ValueReader<string> = {
  metavar: "EXCHANGE",
  expected: "the name of an exchange, at most 255 bytes, that does not begin with amq. or cox.",
  read(given) {
    const name = queueName.read(given);
    return name === undefined || /^(amq|cox)\./.test(name) ? undefined : name;
  },
};

/** The words for a switch in a variable or the file. */
export function readSwitch(given: string): boolean | undefined {
  const word = given.trim().toLowerCase();
  if (["true", "yes", "on", "1"].includes(word)) return true;
  if (["false", "no", "off", "0"].includes(word)) return false;
  return undefined;
}
