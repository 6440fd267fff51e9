/**
 * Which workers a command is for where it names none: those whose name fits a pattern, as Celery's
 * `pattern` and `matcher` say. Anybody may send one, so none may take long to try.
 */

export interface NamePattern {
  readonly text: string;
  /** "glob" (Python's `fnmatch`) or "pcre" (`re.match`). */
  readonly matcher: string;
}

/** The pattern cannot be tried. */
export class NamePatternError extends Error {
  override readonly name = "NamePatternError";
}

/** Longer ones are nobody's name for workers. */
const MAX_CHARS = 255;
/** Each multiplies the time that a regular expression may take by the length of the name. */
const MAX_REPETITIONS = 3;

/** @throws NamePatternError: an unknown matcher, an expression that is none or may take too long. */
export function matchesName(name: string, { text, matcher }: NamePattern): boolean {
  if (text.length > MAX_CHARS) {
    throw new NamePatternError(`a pattern has at most ${MAX_CHARS} characters, not ${text.length}`);
  }
  switch (matcher) {
    case "glob":
      return globMatches(name, globParts(text));
    case "pcre":
      // Python's `re.match` looks at the beginning alone.
      return expression(text).test(name);
    default:
      throw new NamePatternError(`there is no matcher "${matcher}": use glob or pcre`);
  }
}

function expression(text: string): RegExp {
  const repetitions = text.match(/[*+{]/g)?.length ?? 0;
  if (repetitions > MAX_REPETITIONS || /\)[*+{]|\\\d/.test(text)) {
    throw new NamePatternError(
      `/${text}/ might take too long: at most ${MAX_REPETITIONS} repetitions, none of a group`,
    );
  }
  try {
    return new RegExp(`^(?:${text})`);
  } catch (error) {
    throw new NamePatternError(error instanceof Error ? error.message : String(error));
  }
}

/** What one character of a name must be; "*" is any number of them. */
type GlobPart = "*" | ((char: string) => boolean);

function globParts(text: string): readonly GlobPart[] {
  return [...text.matchAll(/\[(!?)(\]?[^\]]*)\]|[^]/g)].map(([token, not, set]): GlobPart => {
    if (token === "*") return "*";
    if (token === "?") return () => true;
    if (set !== undefined) return (char) => isOfSet(char, set) !== (not === "!");
    return (char) => char === token;
  });
}

/** A set's characters, and its ranges such as `a-z`. */
function isOfSet(char: string, set: string): boolean {
  for (const [token, from, to] of set.matchAll(/([^])-([^])|[^]/g)) {
    if (from !== undefined && to !== undefined ? from <= char && char <= to : token === char) {
      return true;
    }
  }
  return false;
}

/** Goes back to the latest `*` alone, which is enough, and takes no more than the two lengths' product. */
function globMatches(name: string, parts: readonly GlobPart[]): boolean {
  let at = 0;
  let part = 0;
  let star: { readonly part: number; readonly at: number } | undefined;
  while (at < name.length) {
    const next = parts[part];
    if (next === "*") {
      star = { part, at };
      part++;
    } else if (next?.(name.charAt(at))) {
      at++;
      part++;
    } else if (star !== undefined) {
      star = { part: star.part, at: star.at + 1 };
      part = star.part + 1;
      at = star.at;
    } else return false;
  }
  return parts.slice(part).every((rest) => rest === "*");
}
