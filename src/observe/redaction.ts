/**
 * Takes secrets out of what is written: fields by their names, passwords in URLs, credentials in
 * headers, and the very texts that are known to be secret. Every log line goes through it.
 */

const HIDDEN = "[redacted]";

/** Names of fields whose values are never written, wherever they stand in a longer name. */
const SECRET_NAME =
  /pass(?:word|wd|phrase)|token|secret|authori[sz]ation|credential|cookie|api[-_]?key|private[-_]?key/i;
/** Names that match and hold no secret. */
const HARMLESS_NAME = /^(?:max|min|count|num|total)?_?tokens?_?(?:count|limit|file|type)$/i;

// The last "@" before the path ends the user info, so a raw "@" in a password is covered too.
const URL_PASSWORD = /\b([a-z][a-z0-9+.-]*:\/\/[^\s/?#:@"'<>]*):[^\s"'<>/?#]*@/gi;
const CREDENTIALS = /\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{4,}/gi;

/** Deepest structure that is looked into; what lies deeper is left out. */
const MAX_DEPTH = 8;
/** Known secrets shorter than this would take half of the words out of a log. */
const MIN_SECRET_LENGTH = 4;

/** Hides passwords in URLs and credentials in any text. */
export function redactText(text: string): string {
  return text.replace(URL_PASSWORD, `$1:${HIDDEN}@`).replace(CREDENTIALS, `$1 ${HIDDEN}`);
}

/** What hides given secrets, as they are and as JSON and URLs write them, besides `redactText`. */
export function createTextRedaction(secrets: readonly string[]): (text: string) => string {
  const spellings = secrets
    .filter((secret) => secret.length >= MIN_SECRET_LENGTH)
    .flatMap((
      secret,
    ) => [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret.toWellFormed())]);
  // Longest first: one secret may begin with another.
  const known = [...new Set(spellings)].toSorted((a, b) => b.length - a.length);
  return (text) =>
    known.reduce((rest, secret) => rest.replaceAll(secret, HIDDEN), redactText(text));
}

/** Whether a field of this name is never written. */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name) && !HARMLESS_NAME.test(name);
}

/**
 * A copy of a log's fields without the values of secret names, however deep. Texts inside are left to
 * the redaction of the written line.
 */
export function redactFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return redactEntries(fields, new Set(), 0);
}

function redactEntries(
  fields: object,
  above: ReadonlySet<object>,
  depth: number,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      isSecretName(name) && value !== undefined && value !== null
        ? HIDDEN
        : redactValue(value, above, depth),
    ]),
  );
}

function redactValue(value: unknown, above: ReadonlySet<object>, depth: number): unknown {
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  if (depth >= MAX_DEPTH) return "[too deep]";
  if (above.has(value)) return "[circular]";
  const path = new Set(above).add(value);
  if (value instanceof Error) {
    return {
      name: value.name,
      message: value.message,
      stack: value.stack,
      ...redactEntries(value, path, depth + 1),
      ...(value.cause === undefined ? {} : { cause: redactValue(value.cause, path, depth + 1) }),
    };
  }
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Headers || value instanceof Map) {
    return redactEntries(Object.fromEntries(value), path, depth + 1);
  }
  if (value instanceof URL) return value.href;
  if (Array.isArray(value) || value instanceof Set) {
    return [...value].map((item) => redactValue(item, path, depth + 1));
  }
  return redactEntries(value, path, depth + 1);
}
