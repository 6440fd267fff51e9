/**
 * JSON that passes through unharmed: numbers which JavaScript would write otherwise (integers beyond
 * 2^53, `1.0`, `1e3`) are written again as they came. For what a message carries for somebody else.
 */

/** Newer than the compiler's library: https://tc39.es/proposal-json-parse-with-source/ */
interface SourceJson {
  rawJSON(text: string): unknown;
  parse(
    text: string,
    reviver: (this: unknown, key: string, value: unknown, context: Source) => unknown,
  ): unknown;
}

interface Source {
  readonly source?: string;
}

const json = JSON as unknown as SourceJson;

/** @throws SyntaxError. Such numbers are objects that only `JSON.stringify` can read. */
export function parseExactly(text: string): unknown {
  return json.parse(text, (_key, value, { source }) => {
    const isExact = typeof value !== "number" || source === undefined || String(value) === source;
    return isExact ? value : json.rawJSON(source);
  });
}
