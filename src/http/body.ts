/** Reads request bodies: never more of one than the limit. */
import type { CallInput } from "../calls/call.ts";
import { MAX_NESTING, parseInput } from "../calls/input.ts";
import { isNestedDeeper } from "../calls/wire/json_elements.ts";
import { locateJsonError } from "./json_error.ts";
import type { Problem } from "./problems.ts";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** A value, or why there is none. */
export type Read<T> = { readonly value: T } | { readonly problem: Problem };

/** The body as text: see `readBytes`. */
export async function readText(request: Request, maxBytes: number): Promise<Read<string>> {
  const bytes = await readBytes(request, maxBytes);
  return "problem" in bytes ? bytes : decodeText(bytes.value);
}

/** A body's bytes as text in UTF-8. */
export function decodeText(bytes: Uint8Array): Read<string> {
  try {
    return { value: decoder.decode(bytes) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { problem: bad("The body is not text in UTF-8") };
  }
}

/**
 * The body as it is. One whose length is announced is read at a stretch, which costs half of reading
 * a stream; one that comes in chunks is given up as soon as it passes the limit. What the client
 * still sends of a refused body the server passes over, so that the refusal arrives.
 */
export async function readBytes(request: Request, maxBytes: number): Promise<Read<Uint8Array>> {
  const { headers } = request;
  const encoding = headers.get("content-encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    return {
      problem: {
        name: "unsupported-encoding",
        detail: `The body is encoded as "${encoding}": send it as it is`,
        headers: { "accept-encoding": "identity" },
      },
    };
  }
  const length = headers.get("content-length");
  if (length !== null && Number(length) > maxBytes) return { problem: tooLarge(maxBytes) };
  let bytes: Uint8Array | undefined;
  try {
    bytes = length === null || headers.has("transfer-encoding")
      ? await readChunks(request.body, maxBytes)
      : await request.bytes();
  } catch (error) {
    // The client went away in the middle of its body, was too slow, or sent chunks that are none.
    return {
      problem: bad(`The body broke off: ${error instanceof Error ? error.message : error}`),
    };
  }
  return bytes === undefined ? { problem: tooLarge(maxBytes) } : { value: bytes };
}

/** Undefined where there is more than the limit. */
async function readChunks(
  body: ReadableStream<Uint8Array> | null,
  maxBytes: number,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    // Leaving the loop cancels the stream.
    if (size > maxBytes) return undefined;
    chunks.push(chunk);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

/** What a task is called with, from a body's text. */
export function readInput(text: string): Read<CallInput> {
  return readJson(text, parseInput);
}

/** An array of objects, each with an input. */
const MAX_BODY_NESTING = MAX_NESTING + 2;

/** Gives a text to a parser, and says where it stops being JSON. */
export function readJson<T>(text: string, parse: (text: string) => T): Read<T> {
  // Before it is read: to write 30,000 levels again takes the runtime a third of a second.
  if (isNestedDeeper(text, MAX_BODY_NESTING)) return { problem: TOO_DEEP };
  try {
    return { value: parse(text) };
  } catch (error) {
    if (error instanceof RangeError) return { problem: TOO_DEEP };
    if (!(error instanceof SyntaxError)) throw error;
    return { problem: bad(`The body is not JSON: ${describe(text, error)}`) };
  }
}

const TOO_DEEP = bad(`The body is nested more than ${MAX_NESTING} levels deep`);

function describe(text: string, error: SyntaxError): string {
  const position = locateJsonError(text);
  if (position === undefined) return error.message;
  const { offset, line, column, character } = position;
  const what = character === undefined
    ? "unexpected end"
    : `unexpected ${JSON.stringify(character)}`;
  return `${what} at position ${offset} (line ${line}, column ${column})`;
}

export function bad(detail: string): Problem {
  return { name: "bad-request", detail };
}

function tooLarge(maxBytes: number): Problem {
  return {
    name: "too-large",
    detail: `The body is larger than the limit of ${maxBytes} bytes`,
    members: { maxBytes },
  };
}
