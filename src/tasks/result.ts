/** What a task gives back, as text that can travel: its result as JSON, its headers as HTTP has them. */
import { ResultError } from "./errors.ts";

/** Characters of a result's JSON text. Brokers refuse messages of this size long before. */
const MAX_RESULT_LENGTH = 64 * 1024 * 1024;
/** All headers together; AMQP keeps a message's headers in one frame (128 KiB). */
const MAX_HEADERS_LENGTH = 32 * 1024;

/** RFC 9110, section 5.1: a header's name is a token. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** RFC 9110, section 5.5, with the bytes that HTTP libraries still take: no CR, LF, NUL. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

const NO_HEADERS: Readonly<Record<string, string>> = {};

/**
 * The result as JSON text; undefined becomes null.
 * @throws ResultError naming the task when JSON cannot carry it (a BigInt, a cycle, a function) or it
 *   is too long.
 */
export function encodeResult(task: string, value: unknown): string {
  if (value === undefined) return "null";
  const fail = (reason: string, cause?: unknown) =>
    new ResultError(
      `Cannot send the result of task ${JSON.stringify(task)}: ${reason}`,
      cause === undefined ? {} : { cause },
    );
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw fail(`it must be what JSON carries (${why.slice(0, 500)})`, error);
  }
  if (text === undefined) throw fail(`it must be what JSON carries, got a ${typeof value}`);
  if (text.length > MAX_RESULT_LENGTH) {
    throw fail(`its JSON must be at most ${MAX_RESULT_LENGTH} characters, got ${text.length}`);
  }
  return text;
}

/**
 * Headers with lower-case names and text values. Numbers and booleans become text, undefined is left
 * out.
 * @throws ResultError naming the task and the header when HTTP cannot carry it.
 */
export function encodeHeaders(
  task: string,
  headers: Readonly<Record<string, unknown>>,
): Readonly<Record<string, string>> {
  const entries = Object.entries(headers);
  if (entries.length === 0) return NO_HEADERS;
  const encoded: Record<string, string> = {};
  let length = 0;
  for (const [name, value] of entries) {
    if (value === undefined) continue;
    const fail = (reason: string) =>
      new ResultError(
        `Cannot send header ${JSON.stringify(name.slice(0, 100))} of task ` +
          `${JSON.stringify(task)}: ${reason}`,
      );
    if (!HEADER_NAME.test(name)) throw fail("its name must be an HTTP token (letters, digits, -)");
    const text = typeof value === "string" ? value : plainText(value);
    if (text === undefined) throw fail(`its value must be a text, got ${typeof value}`);
    if (!HEADER_VALUE.test(text)) {
      throw fail("its value must be printable Latin-1 text without line breaks");
    }
    length += name.length + text.length;
    if (length > MAX_HEADERS_LENGTH) {
      throw fail(`all headers together must be at most ${MAX_HEADERS_LENGTH} characters`);
    }
    encoded[name.toLowerCase()] = text.trim();
  }
  return encoded;
}

function plainText(value: unknown): string | undefined {
  return typeof value === "number" || typeof value === "boolean" ? String(value) : undefined;
}
