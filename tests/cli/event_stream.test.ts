/** Event streams read as the HTML Living Standard has it, however they are cut. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { readEventStream, type StreamEvent } from "../../src/cli/event_stream.ts";

async function read(chunks: Iterable<Uint8Array>): Promise<StreamEvent[]> {
  const events: StreamEvent[] = [];
  const body = (async function* () {
    yield* chunks;
  })();
  for await (const event of readEventStream(body)) events.push(event);
  return events;
}

const bytes = (text: string) => new TextEncoder().encode(text);

test("readEventStream() gives events, their names and the ids, and passes comments over", async () => {
  const text = ": hello\nretry: 5\n\nid: 1\ndata: one\n\nevent: gap\ndata:two\ndata\n\nid: 3\n\n" +
    "data: four\n\ndata: not ended";
  expect(await read([bytes(text)])).toEqual([
    { event: "message", data: "one", id: "1" },
    { event: "gap", data: "two\n", id: "1" },
    { event: "message", id: "3" },
    { event: "message", data: "four", id: "3" },
  ]);
});

test("readEventStream() reads the same wherever a chunk ends, whatever ends a line", async () => {
  const text = "id: ä\ndata: ünï\n\nevent: x\ndata: 2\ndata: 3\n\n";
  const expected = await read([bytes(text)]);
  expect(expected).toHaveLength(2);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("\n", "\r", "\r\n"),
      fc.array(fc.nat(60), { maxLength: 8 }),
      async (end, cuts) => {
        // A lone CR at the very end may be half of a CRLF: something follows it.
        const whole = bytes(`${text.replaceAll("\n", end)}: end${end}`);
        const at = [
          0,
          ...cuts.map((cut) => cut % whole.length).sort((a, b) => a - b),
          whole.length,
        ];
        const chunks = at.slice(1).map((stop, index) => whole.subarray(at[index], stop));
        expect(await read(chunks)).toEqual(expected);
      },
    ),
  );
});
