/** The words of `app job`, `app dead-letters` and `app schedules`, and the streams that they read. */
import { describe, expect, test } from "bun:test";
import { readEventStream } from "../../src/cli/event_stream.ts";
import { exitCodeOf, jobText, progressBar, stateLine } from "../../src/cli/job_text.ts";
import { parseCommandLine } from "../../src/cli/parse.ts";
import { watchJob } from "../../src/cli/job_watch.ts";
import { StartupError } from "../../src/cli/startup_error.ts";

function parse(...args: readonly string[]) {
  return parseCommandLine(args, { programName: "app" }, {
    env: {},
    cwd: "/nowhere",
    hostname: "here",
    processors: 2,
    randomEnd: "abc",
    readText: () => {
      throw Object.assign(new Error("none"), { code: "ENOENT" });
    },
  });
}

function action(...args: readonly string[]): unknown {
  const parsed = parse(...args);
  if (parsed.kind === "text") return parsed.stderr;
  return parsed.command.kind === "records" ? parsed.command.action : parsed.command.kind;
}

describe("words", () => {
  test("say what to do", () => {
    expect(action("job", "submit", "math.add", "[1,2]")).toEqual({
      kind: "submit",
      task: "math.add",
      input: "[1,2]",
    });
    expect(action("job", "submit", "ping")).toEqual({ kind: "submit", task: "ping" });
    expect(action("job", "list")).toEqual({ kind: "list_jobs" });
    expect(action("job", "watch", "x")).toEqual({ kind: "watch", id: "x" });
    expect(action("dead-letters")).toEqual({ kind: "list_letters" });
    expect(action("dead-letters", "retry", "x")).toEqual({ kind: "retry_letters", id: "x" });
    expect(action("dead-letters", "purge", "--every")).toEqual({ kind: "purge_letters" });
    expect(action("schedules", "pause", "nightly")).toEqual({
      kind: "steer_schedule",
      action: "pause",
      name: "nightly",
    });
  });

  test("that make no sense are refused with what there is", () => {
    expect(action("job")).toContain("there are submit, list, get");
    expect(action("job", "dance")).toContain('"dance": there are submit');
    expect(action("job", "get")).toContain("Which job?");
    expect(action("job", "get", "x", "y")).toContain("too much");
    expect(action("job", "submit")).toContain("Which task");
    expect(action("dead-letters", "purge")).toContain("an id, --task or --every");
    expect(action("dead-letters", "retry", "x", "--every")).toContain("give one");
    expect(action("schedules", "run")).toContain("Which schedule?");
    expect(action("job", "submit", "t", "--delay", "1s", "--eta", "2030-01-01T00:00:00Z"))
      .toContain("give one of the two");
    expect(action("job", "list", "--amqp-url", "amqp://x")).toContain("has no meaning for job");
  });
});

describe("texts", () => {
  test("tell of a job line by line", () => {
    const text = jobText({
      id: "x",
      task: "t",
      state: "failed",
      attempt: 2,
      error: { type: "TypeError", message: "no" },
      createdAt: "2030-01-01T00:00:00.123Z",
      attempts: [{ attempt: 1, outcome: "retrying", node: "n" }, {
        attempt: 2,
        outcome: "failed",
        startedAt: "2030-01-01T00:00:01.000Z",
        endedAt: "2030-01-01T00:00:03.000Z",
        error: { type: "TypeError", message: "no" },
      }],
    });
    expect(text.split("\n")).toEqual([
      "job       x",
      "task      t",
      "state     failed",
      "attempt   2",
      "created   2030-01-01 00:00:00Z",
      "error     TypeError: no",
      "attempts  1. retrying on n",
      "          2. failed after 2s (TypeError: no)",
      "",
    ]);
    expect(stateLine({ state: "running", attempt: 2 })).toBe("running (attempt 2)");
    expect(progressBar({ fraction: 0.5, message: "half" })).toBe(
      "[###############               ]  50% half",
    );
    expect(progressBar({ message: "somewhere" })).toBe("somewhere");
    expect(["succeeded", "cancelled", "expired", "running"].map(exitCodeOf)).toEqual([0, 1, 4, 4]);
  });
});

function streamOf(...chunks: readonly string[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
      controller.close();
    },
  });
}

describe("event streams", () => {
  test("are read however they are cut", async () => {
    const text =
      "retry: 1\n\n: still here\n\nid: 1.2\nevent: state\ndata: {\ndata: }\n\ndata: x\n\n";
    for (const size of [1, 3, 1_000]) {
      const chunks = text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
      const events = [];
      for await (const event of readEventStream(streamOf(...chunks))) events.push(event);
      expect(events).toEqual([
        { id: "1.2", event: "state", data: "{\n}" },
        { id: "1.2", event: "message", data: "x" },
      ]);
    }
  });

  test("watchJob() goes on where a stream was lost, after its last event", async () => {
    const asked: (string | null)[] = [];
    const answers = [
      'id: 1.5\nevent: state\ndata: {"state":"running","attempt":1}\n\n',
      'id: 1.9\nevent: state\ndata: {"state":"timed_out","attempt":1}\n\n',
    ];
    let printed = "";
    const code = await watchJob("x", {
      config: { json: false },
      front: {
        request: (_path, init) => {
          asked.push(new Headers(init?.headers).get("last-event-id"));
          return Promise.resolve(new Response(streamOf(answers.shift() ?? "")));
        },
        text: () => Promise.reject(new StartupError("not asked")),
      },
      output: { isTerminal: false, print: (text) => printed += text, printError: () => undefined },
      interrupt: new AbortController().signal,
    });
    expect(code).toBe(4);
    expect(asked).toEqual([null, "1.5"]);
    expect(printed).toBe("running\ntimed_out\n");
  });
});
