/** `app subscribe`: what it prints, when it ends, and how it goes on when its front goes away. */
import { beforeEach, describe, expect, test } from "bun:test";
import { FrontChannels } from "../../src/cli/front_channels.ts";
import { FrontClient } from "../../src/cli/front_client.ts";
import type { Output } from "../../src/cli/output.ts";
import { parseCommandLine } from "../../src/cli/parse.ts";
import { type ChannelSource, runSubscribe } from "../../src/cli/subscribe_command.ts";
import { processSurroundings } from "../../src/config/surroundings.ts";

const NEVER = new AbortController().signal;

function screen() {
  const one = {
    stdout: "",
    stderr: "",
    isTerminal: false,
    print: (text: string) => void (one.stdout += text),
    printError: (text: string) => void (one.stderr += text),
  };
  return one satisfies Output;
}

function sourceOf(...events: (object | string)[]): ChannelSource {
  return {
    subscribe: async function* () {
      for (const event of events) yield typeof event === "string" ? event : JSON.stringify(event);
    },
  };
}

function parse(...args: string[]) {
  return parseCommandLine(["subscribe", ...args], { programName: "app" }, {
    ...processSurroundings(),
    env: {},
    cwd: "/nowhere",
  });
}

describe("app subscribe, its words", () => {
  test("take a pattern, and where to ask", () => {
    expect(parse("orders.*", "--count", "3", "--after", "x~y", "--json")).toMatchObject({
      command: {
        kind: "subscribe",
        pattern: "orders.*",
        config: {
          target: { kind: "front", url: "http://127.0.0.1:8888" },
          count: 3,
          after: "x~y",
          json: true,
        },
      },
    });
    expect(parse("#", "--amqp-url", "amqp://localhost")).toMatchObject({
      command: { config: { target: { kind: "broker" } } },
    });
  });

  test("are refused where they make no sense", () => {
    for (
      const [words, why] of [
        [[], "One PATTERN is expected"],
        [["a", "b"], "One PATTERN is expected"],
        [[""], "must not be empty"],
        [["a", "--count", "0"], "whole number from 1"],
        [["a", "--amqp-url", "amqp://localhost", "--after", "x"], "--after needs a front"],
      ] as const
    ) {
      expect(parse(...words)).toMatchObject({
        kind: "text",
        exitCode: 2,
        stderr: expect.stringContaining(why),
      });
    }
  });
});

describe("runSubscribe()", () => {
  const message = (id: string, value: unknown, more: object = {}) => ({
    id,
    channel: "a.b",
    message: value,
    ...more,
    at: "2026-11-21T08:00:00.000Z",
  });

  test("prints one line a message, for people", async () => {
    const output = screen();
    const text = { contentType: "text/plain" };
    const code = await runSubscribe(
      { json: false },
      "#",
      sourceOf(
        message("1", { x: [1] }),
        message("2", "plain words", text),
        message("3", "two\nlines\u001b", text),
        message("4", "JSON text"),
        '{"id":"5","channel":"n","message":12345678901234567890,"at":"1970-01-01T00:00:00.000Z"}',
        { id: "6", gap: "too_slow", missed: 12, at: "" },
        "nonsense",
      ),
      output,
      NEVER,
    );
    expect(code).toBe(0);
    expect(output.stdout.split("\n")).toEqual([
      '2026-11-21T08:00:00.000Z a.b {"x":[1]}',
      "2026-11-21T08:00:00.000Z a.b plain words",
      '2026-11-21T08:00:00.000Z a.b "two\\nlines\\u001b"',
      '2026-11-21T08:00:00.000Z a.b "JSON text"',
      "1970-01-01T00:00:00.000Z n 12345678901234567890",
      "",
    ]);
    expect(output.stderr).toContain("12 messages may have been missed: they came faster");
    expect(output.stderr).toContain("no message: nonsense");
  });

  test("prints each as it came with --json, and ends after --count", async () => {
    const output = screen();
    const events = [message("1", 1), { id: "2", gap: "broker_away", at: "" }, message("3", 3)];
    const source = sourceOf(...events, message("4", 4));
    expect(await runSubscribe({ json: true, count: 2 }, "#", source, output, NEVER)).toBe(0);
    expect(output.stdout).toBe(events.map((event) => `${JSON.stringify(event)}\n`).join(""));
    expect(output.stderr).toBe("");
  });

  test("ends when nobody reads any more", async () => {
    const output = { ...screen(), isReaderGone: true };
    const source = sourceOf(message("1", 1), message("2", 2));
    let printed = 0;
    output.print = () => void (printed += 1);
    expect(await runSubscribe({ json: true }, "#", source, output, NEVER)).toBe(0);
    expect(printed).toBe(1);
  });
});

describe("FrontChannels", () => {
  /** A front that answers each request by its turn. */
  function front(...turns: ((request: Request) => Response)[]) {
    const seen: (string | null)[] = [];
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request) {
        seen.push(request.headers.get("last-event-id"));
        const turn = turns[Math.min(seen.length, turns.length) - 1];
        return turn?.(request) ?? new Response(null, { status: 500 });
      },
    });
    const client = new FrontClient({ url: `http://127.0.0.1:${server.port}` });
    return { seen, client, [Symbol.asyncDispose]: () => server.stop(true) };
  }

  const stream = (text: string, isOpen = false) => () =>
    new Response(
      new ReadableStream({
        start(controller) {
          controller.enqueue(new TextEncoder().encode(text));
          if (!isOpen) controller.close();
        },
      }),
      { headers: { "content-type": "text/event-stream" } },
    );
  const refusal = (status: number) => () =>
    Response.json({ type: "/problems/x", detail: "not now" }, { status });

  /** What was told on the way. */
  let told: string[] = [];
  beforeEach(() => {
    told = [];
  });
  const channels = ({ client }: { readonly client: FrontClient }, silenceMs?: number) =>
    new FrontChannels(client, {
      tell: (text) => told.push(text),
      ...(silenceMs === undefined ? {} : { silenceMs }),
    });
  const AWAY = "The front went away; it is asked again until it is back.";
  const BACK = "The front is back.";

  async function collect(source: FrontChannels, count: number, after?: string): Promise<string[]> {
    const got: string[] = [];
    const options = { signal: NEVER, ...(after === undefined ? {} : { after }) };
    for await (const text of source.subscribe("a.#", options)) {
      got.push(text);
      if (got.length === count) break;
    }
    return got;
  }

  test("goes on after the last id when the stream ends, and when the front is not ready", async () => {
    await using one = front(
      stream("id: 7\ndata: A\n\n: still here\nid: 8\n\n"),
      refusal(503),
      stream("id: 9\ndata: B\n\n", true),
    );
    expect(await collect(channels(one), 2, "6")).toEqual(["A", "B"]);
    expect(one.seen).toEqual(["6", "8", "8"]);
    // Once, however often it was asked.
    expect(told).toEqual([AWAY, BACK]);
  });

  test("takes a front that says nothing any more for dead", async () => {
    await using one = front(stream("id: 1\ndata: A\n\n", true), stream("id: 2\ndata: B\n\n", true));
    expect(await collect(channels(one, 200), 2)).toEqual(["A", "B"]);
    expect(one.seen).toEqual([null, "1"]);
  });

  test("gives up at once where it is refused, and at first where there is no front", async () => {
    await using one = front(stream("id: 1\ndata: A\n\n"), refusal(400));
    await expect(collect(channels(one), 2)).rejects.toThrow("refused: not now");
    const nowhere = { client: new FrontClient({ url: "http://127.0.0.1:1" }) };
    await expect(collect(channels(nowhere), 1)).rejects.toThrow("Cannot reach a front");
  });

  test("ends when it is told to, in the middle of a stream", async () => {
    await using one = front(stream("id: 1\ndata: A\n\n", true));
    const stop = new AbortController();
    const got: string[] = [];
    for await (
      const text of channels(one).subscribe("a", { signal: stop.signal })
    ) {
      got.push(text);
      stop.abort();
    }
    expect(got).toEqual(["A"]);
  });
});
