/**
 * Lines out of a stream of bytes, however it was cut into chunks. Pure: the state is the bytes of the
 * line that has not ended. What a line means is not known here.
 */

const LF = 0x0a;
const CR = 0x0d;

/** Ended lines, without their `\n` or `\r\n`, and what has come of the next. */
export interface Framed {
  /** May be parts of the chunk: to be copied by whoever keeps them. */
  readonly lines: readonly Uint8Array[];
  /** A copy; undefined where nothing has come. */
  readonly rest: Uint8Array | undefined;
  /** After these lines came one that is longer than lines may be; the rest was not looked at. */
  readonly isTooLong: boolean;
}

/**
 * @param rest what came of a line before.
 * @param maxBytes longest line, its end not counted.
 */
export function frame(
  rest: Uint8Array | undefined,
  chunk: Uint8Array,
  maxBytes: number,
): Framed {
  const lines: Uint8Array[] = [];
  let begun = rest;
  let start = 0;
  for (let end = chunk.indexOf(LF); end !== -1; end = chunk.indexOf(LF, start)) {
    const line = ended(joined(begun, chunk.subarray(start, end)));
    if (line.length > maxBytes) return { lines, rest: undefined, isTooLong: true };
    lines.push(line);
    begun = undefined;
    start = end + 1;
  }
  const size = (begun?.length ?? 0) + chunk.length - start;
  if (size === 0) return { lines, rest: undefined, isTooLong: false };
  // The last byte may be the first of a `\r\n`.
  if (size > maxBytes + 1 || (size > maxBytes && chunk.at(-1) !== CR)) {
    return { lines, rest: undefined, isTooLong: true };
  }
  const tail = chunk.subarray(start);
  return {
    lines,
    rest: begun === undefined ? tail.slice() : joined(begun, tail),
    isTooLong: false,
  };
}

function joined(begun: Uint8Array | undefined, more: Uint8Array): Uint8Array {
  if (begun === undefined) return more;
  const whole = new Uint8Array(begun.length + more.length);
  whole.set(begun);
  whole.set(more, begun.length);
  return whole;
}

function ended(line: Uint8Array): Uint8Array {
  return line.at(-1) === CR ? line.subarray(0, -1) : line;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of a line; undefined where it is not UTF-8. */
export function textOfLine(line: Uint8Array): string | undefined {
  try {
    return decoder.decode(line);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

/** A line as it is sent: with `\n`. */
export function bytesOfLine(text: string): Uint8Array {
  return encoder.encode(`${text}\n`);
}

/** Why a text cannot be sent as one line, or undefined. */
export function problemOfLine(text: string, maxBytes: number): string | undefined {
  if (text === "") return "must not be empty";
  if (/[\r\n]/.test(text)) return "must be one line: no line feed, no carriage return";
  if (!text.isWellFormed()) return "must be well-formed Unicode";
  const bytes = encoder.encode(text).length;
  return bytes > maxBytes ? `must be at most ${maxBytes} bytes, got ${bytes}` : undefined;
}
