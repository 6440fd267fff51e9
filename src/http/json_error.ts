/**
 * Where a text stops being JSON: the runtime's own error names no position. Walks the grammar of
 * RFC 8259 once, without recursion; only for texts that `JSON.parse` has refused.
 */

export interface JsonErrorPosition {
  /** UTF-16 units before the first character that cannot stand where it stands. */
  readonly offset: number;
  /** From 1. */
  readonly line: number;
  /** From 1, in UTF-16 units. */
  readonly column: number;
  /** That character, or undefined where the text ends too early. */
  readonly character: string | undefined;
}

/** What may come next. */
type Expected = "value" | "value or ]" | "name" | "name or }" | "colon" | "comma or end";

const WHITESPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORDS = ["true", "false", "null"];
const ESCAPED = '"\\/bfnrt';
const HEX = /^[0-9a-fA-F]$/;

/** Undefined where the text is JSON. */
export function locateJsonError(text: string): JsonErrorPosition | undefined {
  const offset = errorOffset(text);
  if (offset === undefined) return undefined;
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf("\n") + 1;
  const code = text.codePointAt(offset);
  return {
    offset,
    line: before.split("\n").length,
    column: offset - lineStart + 1,
    character: code === undefined ? undefined : String.fromCodePoint(code),
  };
}

function errorOffset(text: string): number | undefined {
  /** The closing brackets that are still to come. */
  const open: string[] = [];
  let expected: Expected = "value";
  let at = 0;
  while (true) {
    at = skip(WHITESPACE, text, at);
    const character = text[at];
    if (character === undefined) {
      return expected === "comma or end" && open.length === 0 ? undefined : at;
    }
    switch (expected) {
      case "comma or end":
        if (character === "," && open.length > 0) {
          expected = open.at(-1) === "}" ? "name" : "value";
        } else if (character === open.at(-1)) {
          open.pop();
        } else {
          return at;
        }
        at += 1;
        continue;
      case "colon":
        if (character !== ":") return at;
        expected = "value";
        at += 1;
        continue;
      case "name":
      case "name or }":
        if (character === "}" && expected === "name or }") {
          open.pop();
          expected = "comma or end";
          at += 1;
          continue;
        }
        if (character !== '"') return at;
        break;
      case "value":
      case "value or ]":
        if (character === "]" && expected === "value or ]") {
          open.pop();
          expected = "comma or end";
          at += 1;
          continue;
        }
        if (character === "[" || character === "{") {
          open.push(character === "[" ? "]" : "}");
          expected = character === "[" ? "value or ]" : "name or }";
          at += 1;
          continue;
        }
    }
    const scalar = character === '"' ? scanString(text, at) : scanWordOrNumber(text, at);
    if ("error" in scalar) return scalar.error;
    at = scalar.end;
    expected = expected.startsWith("name") ? "colon" : "comma or end";
  }
}

type Scanned = { readonly end: number } | { readonly error: number };

function scanString(text: string, start: number): Scanned {
  for (let at = start + 1; at < text.length; at++) {
    const character = text.charAt(at);
    if (character === '"') return { end: at + 1 };
    if (character < " ") return { error: at };
    if (character !== "\\") continue;
    at += 1;
    if (text[at] === "u") {
      for (let digit = 1; digit <= 4; digit++) {
        if (!HEX.test(text.charAt(at + digit))) return { error: at + digit };
      }
      at += 4;
    } else if (at < text.length && !ESCAPED.includes(text.charAt(at))) {
      return { error: at };
    }
  }
  return { error: text.length };
}

function scanWordOrNumber(text: string, start: number): Scanned {
  const word = WORDS.find((word) => text.startsWith(word, start));
  if (word !== undefined) return { end: start + word.length };
  const end = skip(NUMBER, text, start);
  return end === start ? { error: start } : { end };
}

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}
