/** Reads an event stream (HTML Living Standard, section 9.2.6) as it comes in. */

export interface StreamEvent {
  /** "message" unless the stream names another. */
  readonly event: string;
  /** The lines of data, joined with line feeds; undefined where there was only an id. */
  readonly data?: string;
  /** The latest id that the stream has told, by this event or an earlier one. */
  readonly id: string;
}

/** Longer than any message may be: who sends more without a line end sends no event stream. */
const MAX_LINE_LENGTH = 64 * 2 ** 20;

/**
 * Yields what each blank line ends, ids without data too. What stands after the last blank line is no
 * event.
 * @throws RangeError where a line has no end in sight.
 */
export async function* readEventStream(
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<StreamEvent, void, undefined> {
  let id = "";
  let event = "";
  let data: string[] = [];
  let isEmpty = true;
  for await (const line of linesOf(body)) {
    if (line === "") {
      if (!isEmpty) {
        yield {
          event: event === "" ? "message" : event,
          ...(data.length === 0 ? {} : { data: data.join("\n") }),
          id,
        };
      }
      event = "";
      data = [];
      isEmpty = true;
      continue;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    switch (field) {
      case "event":
        event = value;
        break;
      case "data":
        data.push(value);
        isEmpty = false;
        break;
      case "id":
        if (value.includes("\0")) break;
        id = value;
        isEmpty = false;
        break;
    }
  }
}

/** Lines end with CRLF, LF or CR; a CR at the end of a chunk may be the beginning of a CRLF. */
async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of body) {
    rest += decoder.decode(chunk, { stream: true });
    const isCut = rest.endsWith("\r");
    const lines = (isCut ? rest.slice(0, -1) : rest).split(/\r\n|\n|\r/);
    rest = (lines.pop() ?? "") + (isCut ? "\r" : "");
    if (rest.length > MAX_LINE_LENGTH) {
      throw new RangeError(`Cannot read the event stream: a line is longer than ${rest.length}`);
    }
    yield* lines;
  }
}
