/** `app queues` and `app publish`, from their words to what is printed, over a front's application. */
import { afterAll, describe, expect, test } from "bun:test";
import type { Output } from "../../src/cli/output.ts";
import { publishToExchange, queueSource } from "../../src/cli/broker_messages.ts";
import type { Command } from "../../src/cli/command.ts";
import { FrontClient } from "../../src/cli/front_client.ts";
import { parseCommandLine } from "../../src/cli/parse.ts";
import { type MessageSink, runPublish } from "../../src/cli/publish_command.ts";
import { runQueueAction, runQueues } from "../../src/cli/queues_command.ts";
import { startupFailure } from "../../src/cli/startup_error.ts";
import { processSurroundings } from "../../src/config/surroundings.ts";
import type { Exchanges, OutgoingMessage, PublishEnding } from "../../src/messages/exchanges.ts";
import type { QueueInfo, Queues } from "../../src/messages/queues.ts";
import { front } from "../http/front.ts";

interface Screen extends Output {
  stdout: string;
  stderr: string;
}

function screen(): Screen {
  const one: Screen = {
    stdout: "",
    stderr: "",
    isTerminal: false,
    print: (text) => void (one.stdout += text),
    printError: (text) => void (one.stderr += text),
  };
  return one;
}

function parse(...args: string[]) {
  return parseCommandLine(args, { programName: "app" }, {
    ...processSurroundings(),
    env: {},
    cwd: "/nowhere",
  });
}

function command<K extends Command["kind"]>(
  kind: K,
  ...args: string[]
): Extract<Command, { kind: K }> {
  const parsed = parse(...args);
  if (parsed.kind === "text") throw new Error(parsed.stderr);
  if (!isKind(parsed.command, kind)) throw new Error(`it is ${parsed.command.kind}`);
  return parsed.command;
}

function isKind<K extends Command["kind"]>(
  one: Command,
  kind: K,
): one is Extract<Command, { kind: K }> {
  return one.kind === kind;
}

const QUEUES: readonly QueueInfo[] = [
  {
    queue: "log",
    kind: "messages",
    messages: 12,
    consumers: 1,
    isPaused: true,
    nodes: ["a", "b"],
    exchange: "shop",
    keys: ["order.*", "x"],
    deliveredPerSecond: 1.5,
    settledPerSecond: 1,
  },
  { queue: "old", kind: "tasks", messages: null, consumers: null, isPaused: false, nodes: [] },
];

const published: (readonly [OutgoingMessage, boolean])[] = [];
const declared: unknown[] = [];
const steered: unknown[] = [];
let ending: PublishEnding = { kind: "published", isRouted: true };
const exchanges: Exchanges = {
  publish(message, { isAwaited }) {
    published.push([message, isAwaited]);
    return Promise.resolve(ending);
  },
  declare(...given) {
    declared.push(given);
    return Promise.resolve({ kind: "declared" });
  },
};
const queues: Queues = {
  list: () => Promise.resolve({ kind: "listed", queues: QUEUES }),
  setPaused(...given) {
    steered.push(given);
    return Promise.resolve(
      given[0] === "none" ? { kind: "unknown_queue", message: "none there" } : { kind: "done" },
    );
  },
  purge: () => Promise.resolve({ kind: "purged", messages: 4 }),
};
const { app } = front({ exchanges, queues });
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request) => app.fetch(request, {}),
});
afterAll(() => server.stop(true));
const URL_FLAGS = ["--url", `http://127.0.0.1:${server.port}`] as const;
const client = () => new FrontClient({ url: `http://127.0.0.1:${server.port}` });
const noStdin = () => Promise.reject(new Error("standard input was not asked for"));

function failure(promise: Promise<unknown>) {
  return promise.then(() => undefined, (error: unknown) => startupFailure(error));
}

describe("app queues", () => {
  test("lists them as a table, or as the front's own JSON", async () => {
    const table = screen();
    expect(await runQueues(command("list", "queues", ...URL_FLAGS).config, client(), table)).toBe(
      0,
    );
    expect(table.stdout).toBe(
      "QUEUE  FOR              MESSAGES  CONSUMERS  IN/S  DONE/S  STATE      NODES\n" +
        "log    shop: order.* x  12        1          1.5   1       paused     a, b\n" +
        "old    tasks                                               not there\n",
    );
    const json = screen();
    await runQueues(command("list", "queues", "--json", ...URL_FLAGS).config, client(), json);
    expect(JSON.parse(json.stdout)).toEqual(QUEUES as QueueInfo[]);
  });

  test("pauses, resumes and purges one, by a front or past it", async () => {
    for (const source of [client(), queueSource(queues)]) {
      steered.length = 0;
      const run = async (...words: string[]) => {
        const { config, action, queue } = command("steer", "queues", ...words);
        const output = screen();
        expect(await runQueueAction(config, action, queue, source, output)).toBe(0);
        return output.stdout;
      };
      expect(await run("pause", "a/b")).toContain('Queue "a/b" is paused');
      expect(await run("resume", "q")).toContain('Queue "q" is resumed');
      expect(await run("purge", "q")).toBe('Queue "q" is empty: 4 messages were removed.\n');
      expect(await run("--json", "purge", "q")).toBe('{"queue":"q","purged":4}\n');
      expect(steered).toEqual([["a/b", true], ["q", false]]);
      expect(await failure(source.steer("pause", "none"))).toMatchObject({
        exitCode: 2,
        message: expect.stringContaining("none there"),
      });
    }
  });

  const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
    [["stop", "q"], /"stop" cannot be done with a queue: there are pause, resume, purge/],
    [["pause"], /Which queue is to be paused\?/],
    [["pause", "a", "b"], /One queue at a time: "b" is too much/],
  ];
  for (const [words, message] of mistakes) {
    test(`refuses ${words.join(" ")}`, () => {
      const parsed = parse("queues", ...words);
      expect(parsed).toMatchObject({ kind: "text", exitCode: 2 });
      expect(parsed.kind === "text" && parsed.stderr).toMatch(message);
    });
  }
});

describe("app publish", () => {
  const past: MessageSink = {
    publishToExchange: (...given) => publishToExchange(exchanges, ...given),
    publishToChannel: () => Promise.reject(new Error("not here")),
  };
  const run = async (sink: MessageSink, ...words: string[]) => {
    const parsed = command("publish", "publish", ...URL_FLAGS, ...words);
    const output = screen();
    const stdin = words.includes("-") ? () => Promise.resolve("from stdin") : noStdin;
    expect(await runPublish(parsed.config, parsed, sink, output, stdin)).toBe(0);
    return output;
  };

  for (const [name, sink] of [["by a front", client()], ["past any front", past]] as const) {
    test(`sends a message with its options ${name}`, async () => {
      published.length = 0;
      declared.length = 0;
      ending = { kind: "published", isRouted: true };
      const flags = "--exchange shop --key order.1 --message-header color:red --type topic";
      const quiet = await run(sink, ...flags.split(" "), '{"a":1}');
      expect(quiet).toMatchObject({ stdout: "", stderr: "" });
      const json = await run(sink, "--exchange", "shop", "--no-persistent", "--json", "-");
      expect(json.stdout).toBe('{"exchange":"shop","key":"","isRouted":true}\n');
      ending = { kind: "published" };
      await run(sink, "--exchange", "shop", "--no-wait", "[1");
      const shown = published.map(([message, isAwaited]) => [
        message.key,
        new TextDecoder().decode(message.body),
        message.contentType,
        message.headers,
        message.persistent,
        isAwaited,
      ]);
      expect(shown).toEqual([
        ["order.1", '{"a":1}', "application/json", { color: "red" }, true, true],
        ["", "from stdin", "text/plain", {}, false, true],
        ["", "[1", "text/plain", {}, true, false],
      ]);
      expect(declared).toEqual([["shop", "topic", true]]);
    });

    test(`tells on stderr that no queue wanted it ${name}`, async () => {
      ending = { kind: "published", isRouted: false };
      const output = await run(sink, "--exchange", "shop", "x");
      expect(output).toMatchObject({
        stdout: "",
        stderr: 'Exchange "shop" took it, and no queue wanted it.\n',
      });
    });

    test(`tells why it was not taken ${name}`, async () => {
      const cases = [["unknown_exchange", 2], ["bad_name", 2], ["broker_away", 3]] as const;
      for (const [kind, exitCode] of cases) {
        ending = { kind, message: "because" };
        expect(await failure(run(sink, "--exchange", "shop", "x"))).toMatchObject({
          exitCode,
          message: expect.stringContaining("because"),
        });
      }
    });
  }

  const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /Expected --exchange NAME and a MESSAGE, or a CHANNEL and a MESSAGE/],
    [["channel"], /Expected --exchange NAME/],
    [["a", "b", "c"], /Expected --exchange NAME/],
    [["--exchange", "e"], /one MESSAGE is expected/],
    [["--exchange", "e", "a", "b"], /one MESSAGE is expected/],
    [["--exchange", " ", "a"], /the name of an exchange that is not blank/],
    [["--exchange", "e", "--type", "topik", "a"], /--type topik: expected one of fanout/],
    [["--exchange", "e", "--message-header", "x", "a"], /expected a header such as color:red/],
    [["--key", "k", "c", "m"], /--key has a meaning with --exchange alone/],
    [["--no-wait", "c", "m"], /--no-wait has a meaning with --exchange alone/],
  ];
  for (const [words, message] of mistakes) {
    test(`refuses ${JSON.stringify(words)}`, () => {
      const parsed = parse("publish", ...words);
      expect(parsed).toMatchObject({ kind: "text", exitCode: 2 });
      expect(parsed.kind === "text" && parsed.stderr).toMatch(message);
    });
  }

  test("takes a channel and a message without --exchange", () => {
    expect(command("publish", "publish", "chat.1", "hello")).toMatchObject({
      channel: "chat.1",
      message: "hello",
    });
  });
});
