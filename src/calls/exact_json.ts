/** Reads JSON so that writing it again says the same, for values that are only passed on. */

/** A number that a double may not hold or would write differently, such as 12345678901234567890, 1.0. */
const DELICATE_NUMBER = /\d{16}|\d\.0|\.\d*0(?!\d)|\d[eE]|-0/;

/**
 * As `JSON.parse`, but numbers that would change keep their text when they are written by
 * `JSON.stringify`: a worker in another language may tell 1.0 from 1, and knows larger integers.
 * @throws SyntaxError when the text is not JSON.
 */
export function parseExactly(text: string): unknown {
  if (!DELICATE_NUMBER.test(text)) return JSON.parse(text);
  return JSON.parse(
    text,
    (_key, value: unknown, context?: { readonly source?: string }) =>
      typeof value === "number" && context?.source !== undefined && `${value}` !== context.source
        ? rawNumber(context.source)
        : value,
  );
}

/** `JSON.rawJSON` of ECMA-262's "JSON.parse source text access", which the compiler's library lacks. */
function rawNumber(source: string): unknown {
  return "rawJSON" in JSON && typeof JSON.rawJSON === "function"
    ? JSON.rawJSON(source)
    : Number(source);
}
