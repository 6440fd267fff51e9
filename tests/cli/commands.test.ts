import { describe, expect, test } from "bun:test";
import { parseInput } from "../../src/calls/input.ts";
import type { Caller, CallInput, CallOptions } from "../../src/calls/call.ts";
import type { Ending } from "../../src/calls/outcome.ts";
import { BrokerAwayError, BrokerRefusedError } from "../../src/broker/errors.ts";
import { runCall } from "../../src/cli/call_command.ts";
import type { Command } from "../../src/cli/command.ts";
import { describeEnding, endingJson, indentJson } from "../../src/cli/ending_text.ts";
import { EXIT, EXIT_CODE_OF_ENDING } from "../../src/cli/exit_code.ts";
import { runNodes } from "../../src/cli/nodes_command.ts";
import type { Output } from "../../src/cli/output.ts";
import { parseCommandLine } from "../../src/cli/parse.ts";
import { StartupError, startupFailure } from "../../src/cli/startup_error.ts";
import { runTasks } from "../../src/cli/tasks_command.ts";
import { processSurroundings } from "../../src/config/surroundings.ts";

interface Screen extends Output {
  stdout: string;
  stderr: string;
}

function screen(isTerminal = false): Screen {
  const one: Screen = {
    stdout: "",
    stderr: "",
    isTerminal,
    print: (text) => void (one.stdout += text),
    printError: (text) => void (one.stderr += text),
  };
  return one;
}

function command<K extends Command["kind"]>(
  kind: K,
  ...args: string[]
): Extract<Command, { kind: K }> {
  const parsed = parseCommandLine([kind, ...args], { programName: "app" }, {
    ...processSurroundings(),
    env: {},
    cwd: "/nowhere",
  });
  if (parsed.kind === "text" || !isKind(parsed.command, kind)) throw new Error("no such command");
  return parsed.command;
}

function isKind<K extends Command["kind"]>(
  one: Command,
  kind: K,
): one is Extract<Command, { kind: K }> {
  return one.kind === kind;
}

interface Sent {
  readonly task: string;
  readonly input: CallInput;
  readonly options: CallOptions | undefined;
}

/** A caller that ends every call in one way. */
function callerOf(ending: Ending): Caller & { readonly sent: Sent[] } {
  const sent: Sent[] = [];
  return {
    sent,
    pending: 0,
    call(task, input, options) {
      sent.push({ task, input, options });
      return Promise.resolve(ending);
    },
  };
}

const succeeded = (resultJson: string): Ending => ({ kind: "succeeded", resultJson, headers: {} });
const noStdin = () => Promise.reject(new Error("standard input was not asked for"));
const calm = new AbortController().signal;

describe("runCall()", () => {
  test("sends the input with its options and prints the result exactly", async () => {
    const output = screen();
    const caller = callerOf(succeeded('{"a":1.50,  "b":12345678901234567890}'));
    const code = await runCall(
      command("call", "echo", '{"a":1}', "--priority", "3", "--expires", "2s"),
      caller,
      output,
      noStdin,
      calm,
    );
    expect(code).toBe(0);
    expect(output).toMatchObject({
      stdout: '{"a":1.50,  "b":12345678901234567890}\n',
      stderr: "",
    });
    expect(caller.sent).toEqual([{
      task: "echo",
      input: parseInput('{"a":1}'),
      options: { headers: {}, priority: 3, expiresMs: 2_000 },
    }]);
  });

  test("indents on a terminal, unless --json asks for it as it is", async () => {
    const caller = callerOf(succeeded('{"a":[12345678901234567890]}'));
    const pretty = screen(true);
    await runCall(command("call", "x"), caller, pretty, noStdin, calm);
    expect(pretty.stdout).toBe('{\n  "a": [\n    12345678901234567890\n  ]\n}\n');
    const exact = screen(true);
    await runCall(command("call", "x", "--json"), caller, exact, noStdin, calm);
    expect(exact.stdout).toBe('{"a":[12345678901234567890]}\n');
  });

  test("reads standard input where the input is -", async () => {
    const caller = callerOf(succeeded("null"));
    const stdin = () => Promise.resolve(" [7] \n");
    await runCall(command("call", "echo", "-"), caller, screen(), stdin, calm);
    expect(caller.sent[0]?.input).toEqual(parseInput("[7]"));
  });

  test("an input that is not JSON is wrong usage, and nothing is sent", async () => {
    const caller = callerOf(succeeded("null"));
    const error = await runCall(command("call", "echo", "text"), caller, screen(), noStdin, calm)
      .then(() => undefined, (reason: unknown) => reason);
    expect(error).toBeInstanceOf(StartupError);
    expect(startupFailure(error)).toMatchObject({
      exitCode: 2,
      message: expect.stringMatching(/^Cannot read the input as JSON: .*'"text"'\.$/),
    });
    expect(caller.sent).toEqual([]);
  });

  const failures: readonly (readonly [Ending, number, string])[] = [
    [{ kind: "failed", error: { type: "E", message: "m" }, headers: {} }, 1, "failed: E: m"],
    [{ kind: "timed_out", limitMs: 3_000 }, 4, "past its limit of 3s"],
    [{ kind: "expired" }, 4, "before it expired"],
    [{ kind: "cancelled" }, 1, "was cancelled"],
    [{ kind: "unknown_task", task: "x" }, 2, "No worker serves"],
    [{ kind: "not_registered", task: "x" }, 2, "has no task"],
    [{ kind: "unknown_queue", queue: "q" }, 2, 'no queue "q"'],
    [{ kind: "worker_lost", message: "why" }, 1, "was lost: why"],
    [{ kind: "outcome_unknown", message: "why" }, 3, "may have run: why"],
    [{ kind: "unreadable_reply", message: "why" }, 1, "could not be read: why"],
    [{ kind: "broker_away", message: "why." }, 3, "away: why."],
    [{ kind: "too_many_waiting", limit: 7 }, 1, "(7)"],
    [{ kind: "refused", message: "why" }, 2, "refused: why"],
  ];

  test.each(failures)("tells %p with exit code %d", async (ending, code, text) => {
    const output = screen(true);
    const call = command("call", "x");
    expect(await runCall(call, callerOf(ending), output, noStdin, calm)).toBe(code);
    expect(output.stdout).toBe("");
    expect(output.stderr).toContain(text);
    expect(output.stderr).toEndWith("\n");
  });

  test("every ending has its exit code and is one of those above", () => {
    expect(failures.map(([{ kind }]) => kind).concat("succeeded").toSorted())
      .toEqual(Object.keys(EXIT_CODE_OF_ENDING).toSorted() as Ending["kind"][]);
  });

  test("--json tells what failed as JSON on stderr", async () => {
    const output = screen();
    const ending: Ending = { kind: "timed_out", limitMs: 5 };
    await runCall(command("call", "x", "--json"), callerOf(ending), output, noStdin, calm);
    expect(JSON.parse(output.stderr)).toEqual({
      ending: "timed_out",
      task: "x",
      message: 'Task "x" ran past its limit of 5ms and was stopped.',
      limitMs: 5,
    });
  });

  test("a task's message does not steer the terminal", async () => {
    const output = screen(true);
    const error = { type: "E", message: "\u001b[2Jgone\u009b1m" };
    const caller = callerOf({ kind: "failed", error, headers: {} });
    await runCall(command("call", "x"), caller, output, noStdin, calm);
    expect(output.stderr).toBe('Task "x" failed: E: ?[2Jgone?1m\n');
  });

  test("Ctrl-C ends with the shell's code for it", async () => {
    const caller = callerOf({ kind: "cancelled" });
    const code = await runCall(
      command("call", "x"),
      caller,
      screen(),
      noStdin,
      AbortSignal.abort(),
    );
    expect(code).toBe(EXIT.interrupted);
  });
});

describe("describeEnding()", () => {
  test("lists a schema's findings and the stack", () => {
    const text = describeEnding("x", {
      kind: "failed",
      headers: {},
      error: {
        type: "InvalidInput",
        message: "",
        issues: [{ message: "no number", path: ["a", "0"] }, { message: "odd", path: [] }],
        stack: "at x",
      },
    });
    expect(text).toBe('Task "x" failed: InvalidInput\n  - a.0: no number\n  - odd\nat x');
  });

  test("leaves out a limit that is not known", () => {
    expect(describeEnding("x", { kind: "timed_out", limitMs: Number.NaN })).toContain(
      "past its limit and",
    );
    expect(endingJson("x", { kind: "expired" })).toStartWith('{"ending":"expired"');
  });
});

test("indentJson() changes no number and no text", () => {
  for (const text of ["1e400", "-0.10", "-0", "1.50", '"ü\\u0000"', "null", "[]"]) {
    expect(indentJson(text)).toBe(text);
  }
});

describe("runTasks()", () => {
  const tasks = JSON.stringify([
    { name: "a", queue: "demo", timeoutMs: 300_000, isolation: "worker", nodes: ["n1", "n2"] },
    { name: "long.name", queue: "q", timeoutMs: 500, isolation: "process", nodes: [] },
  ]);
  const front = (text: string) => ({ tasks: () => Promise.resolve(text) });
  const config = (json: boolean) => ({
    json,
    target: { kind: "front", url: "http://front" } as const,
  });

  test("prints a table", async () => {
    const output = screen();
    expect(await runTasks(config(false), front(tasks), output)).toBe(0);
    expect(output.stdout).toBe([
      "TASK       QUEUE  LIMIT  ISOLATION  NODES",
      "a          demo   5m     worker     n1, n2",
      "long.name  q      500ms  process    none alive",
      "",
    ].join("\n"));
  });

  test("prints the front's own JSON", async () => {
    const output = screen(true);
    await runTasks(config(true), front(tasks), output);
    expect(output.stdout).toBe(`${tasks}\n`);
  });

  test("says so where there is none", async () => {
    const output = screen();
    await runTasks(config(false), front("[]"), output);
    expect(output.stdout).toBe("No worker has announced a task.\n");
  });

  test.each(["<html>", '{"a":1}'])("what answers %s is no front", async (text) => {
    const error = await runTasks(config(false), front(text), screen())
      .then(() => undefined, (reason: unknown) => reason);
    expect(startupFailure(error)).toMatchObject({ exitCode: 2 });
  });
});

describe("runNodes()", () => {
  const now = Date.UTC(2030, 0, 1, 12);
  const config = { json: false, target: { kind: "front", url: "http://front" } } as const;
  const nodes = JSON.stringify([
    {
      kind: "coxswain",
      id: "front-1",
      role: "serve",
      version: "1.0.0",
      state: "unknown",
      startedAt: "2030-01-01T11:59:50.000Z",
      intervalMs: 0,
    },
    {
      kind: "coxswain",
      id: "w",
      role: "work",
      version: "1.0.0",
      state: "late",
      startedAt: "2029-12-29T11:00:00.000Z",
      lastBeaconAt: "2030-01-01T11:59:53.000Z",
      intervalMs: 2_000,
      count: 9,
      load: {
        running: 2,
        waiting: 3,
        isolates: 4,
        stuckIsolates: 1,
        consumers: [{ queue: "a", isLive: true }, { queue: "b", isLive: false }],
        memoryBytes: 104_857_600,
      },
      tasks: ["a", "b"],
    },
  ]);
  const front = (text: string) => ({ nodes: () => Promise.resolve(text) });

  test("prints a table", async () => {
    const output = screen();
    expect(await runNodes(config, front(nodes), output, now)).toBe(0);
    expect(output.stdout.split("\n").map((line) => line.split(/ {2,}/))).toEqual([
      [
        ...["NODE", "KIND", "ROLE", "STATE", "VERSION", "UP", "BEACON", "RUNNING", "WAITING"],
        ...["ISOLATES", "CONSUMERS", "MEMORY", "TASKS"],
      ],
      ["front-1", "coxswain", "serve", "unknown", "1.0.0", "10s", "none"],
      [
        ...["w", "coxswain", "work", "late", "1.0.0", "3d", "7s ago", "2", "3", "4 (1 stuck)"],
        ...["1 of 2", "100MiB", "2"],
      ],
      [""],
    ]);
  });

  test("prints the front's own JSON, and says so where there is none", async () => {
    const output = screen(true);
    await runNodes({ ...config, json: true }, front(nodes), output, now);
    await runNodes(config, front("[]"), output, now);
    expect(output.stdout).toBe(`${nodes}\nNo node has told that it is there.\n`);
  });

  test("what answers no list is no front, and odd members harm nothing", async () => {
    const error = await runNodes(config, front("<html>"), screen())
      .then(() => undefined, (reason: unknown) => reason);
    expect(startupFailure(error)).toMatchObject({ exitCode: 2 });
    const output = screen();
    await runNodes(config, front('[{"id":1,"startedAt":"x","load":7,"tasks":{}}, 5]'), output, now);
    expect(output.stdout.split("\n")[1]).toMatch(/^1 +none$/);
  });
});

describe("startupFailure()", () => {
  test("a broker that is away or refuses is exit code 3, with the reason", () => {
    const cause = new Error("wrapped", { cause: new Error("connect ECONNREFUSED") });
    expect(startupFailure(new BrokerAwayError("Cannot connect to RabbitMQ", { cause }))).toEqual({
      exitCode: 3,
      message: "Cannot connect to RabbitMQ (connect ECONNREFUSED)",
    });
    expect(startupFailure(new BrokerRefusedError("Bad credentials"))).toEqual({
      exitCode: 3,
      message: "Bad credentials",
    });
  });

  test("any other error is not the operator's", () => {
    expect(startupFailure(new TypeError("x is undefined"))).toBeUndefined();
    expect(startupFailure("text")).toBeUndefined();
  });
});
