/**
 * Values as Python shows them (`repr`), for the events and answers that Celery's tools print: what was
 * JSON becomes `[1, 'a', None, True]`.
 */

/** As long as Celery's own by default (`argsrepr_maxsize`, `resultrepr_maxsize`). */
const MAX_CHARS = 1_024;

/**
 * @param json a value as `JSON.parse` gives it.
 * @returns at most `maxChars` and an ellipsis; a large value costs no more than that.
 */
export function pythonRepr(json: unknown, maxChars = MAX_CHARS): string {
  const parts: string[] = [];
  let left = maxChars;
  const write = (text: string): boolean => {
    left -= text.length;
    parts.push(left < 0 ? text.slice(0, text.length + left) : text);
    return left >= 0;
  };
  return writeValue(json, write) ? parts.join("") : `${parts.join("")}...`;
}

/** A text as Python shows it: in single quotes, unless it has some and no double ones. */
export function pythonText(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const escaped = text.replace(/[\\'"\p{Cc}]/gu, (char) => {
    if (char === "\\") return "\\\\";
    if (char === "'" || char === '"') return char === quote ? `\\${char}` : char;
    return ESCAPES[char] ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
  return `${quote}${escaped}${quote}`;
}

/** An exception as Python shows it: `ValueError('boom')`. */
export function pythonException(type: string, message: string): string {
  return `${type}(${pythonText(message.slice(0, MAX_CHARS))})`;
}

const ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** Whether all of it could be written. */
type Write = (text: string) => boolean;

function writeValue(value: unknown, write: Write): boolean {
  switch (typeof value) {
    case "string":
      // No more of a long text is escaped than can be written.
      return write(pythonText(value.slice(0, MAX_CHARS + 1)));
    case "boolean":
      return write(value ? "True" : "False");
    case "object":
      if (value === null) return write("None");
      return Array.isArray(value) ? writeList(value, write) : writeDict(value, write);
    default:
      return write(value === undefined ? "None" : String(value));
  }
}

function writeList(items: readonly unknown[], write: Write): boolean {
  if (!write("[")) return false;
  for (const [index, item] of items.entries()) {
    if (index > 0 && !write(", ")) return false;
    if (!writeValue(item, write)) return false;
  }
  return write("]");
}

function writeDict(members: object, write: Write): boolean {
  if (!write("{")) return false;
  let isFirst = true;
  for (const [name, value] of Object.entries(members)) {
    if (!isFirst && !write(", ")) return false;
    isFirst = false;
    if (!writeValue(name, write) || !write(": ") || !writeValue(value, write)) return false;
  }
  return write("}");
}
