import { describe, expect, test } from "bun:test";
import type { Command, Parsed } from "../../src/cli/command.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { expand, parseCommandLine } from "../../src/cli/parse.ts";
import { MODES } from "../../src/cli/parser.ts";
import { flagOf, negatedFlagOf } from "../../src/config/setting.ts";
import { SETTING_KEYS, settingOf } from "../../src/config/settings.ts";
import type { Surroundings } from "../../src/config/surroundings.ts";
import { VERSION } from "../../src/version.ts";

const surroundings: Surroundings = {
  env: {},
  cwd: "/here",
  processors: 2,
  hostname: "desk",
  randomEnd: "000000",
  readText() {
    throw Object.assign(new Error("none"), { code: "ENOENT" });
  },
};

function parse(...args: string[]): Parsed {
  return parseCommandLine(args, { programName: "app" }, surroundings);
}

function command(...args: string[]): Command {
  const parsed = parse(...args);
  if (parsed.kind === "text") throw new Error(parsed.stderr || parsed.stdout);
  return parsed.command;
}

function told(...args: string[]): Extract<Parsed, { kind: "text" }> {
  const parsed = parse(...args);
  if (parsed.kind === "command") throw new Error("Expected a text, got a command");
  return parsed;
}

describe("parseCommandLine() commands", () => {
  test.each(["all", "serve", "work"] as const)("%s is a node with its configuration", (mode) => {
    expect(command(mode)).toMatchObject({ kind: "node", config: { mode } });
  });

  test("flags as two words or one, in any order", () => {
    expect(command("all", "--port=0", "--host", "localhost", "--no-demo", "--insecure"))
      .toMatchObject({
        config: {
          http: { port: 0, host: "localhost", insecure: true },
          worker: { demo: false },
        },
      });
  });

  test("a switch's other form undoes it", () => {
    expect(command("all", "--demo", "--no-insecure")).toMatchObject({
      config: { http: { insecure: false }, worker: { demo: true } },
    });
  });

  test("--tasks takes all the words that follow it", () => {
    expect(command("work", "--tasks", "a", "b", "--isolates", "3", "--tasks=c", "d"))
      .toMatchObject({
        config: {
          worker: { taskPaths: ["/here/a", "/here/b", "/here/c", "/here/d"], isolates: 3 },
        },
      });
    expect(expand(["x", "--tasks", "--", "-a", "b"])).toEqual(["x", "--tasks", "--", "-a", "b"]);
  });

  test("call has a task, perhaps an input, and its options", () => {
    expect(command("call", "math.add", "[1,2]", "--timeout", "3s", "--header", "x-a: b", "--json"))
      .toMatchObject({
        kind: "call",
        task: "math.add",
        input: "[1,2]",
        config: { json: true, options: { timeoutMs: 3_000, headers: { "x-a": "b" } } },
      });
    expect(command("call", "stat")).not.toHaveProperty("input");
    expect(command("call", "echo", "-")).toMatchObject({ input: "-" });
    expect(command("call", "echo", "--", "-1")).toMatchObject({ input: "-1" });
    expect(command("call", "--url", "http://h", "--", "--odd-name")).toMatchObject({
      task: "--odd-name",
    });
  });

  test.each(["tasks", "nodes"])("%s asks a front, or a broker that is named", (mode) => {
    expect(command(mode, "--url", "https://front/x/")).toMatchObject({
      kind: "list",
      config: { mode, target: { kind: "front", url: "https://front/x" } },
    });
    expect(command(mode, "--amqp-url", "amqp://mq", "--heartbeat-exchange", "Beats")).toMatchObject(
      {
        config: {
          target: { kind: "broker", broker: { url: "amqp://mq" } },
          heartbeatExchange: "Beats",
        },
      },
    );
  });

  test("every flag of every command is understood by it", () => {
    for (const mode of MODES) {
      for (const key of SETTING_KEYS.filter((key) => settingOf(key).modes.includes(mode))) {
        const args = settingOf(key).kind === "switch" ? [flagOf(key)] : [flagOf(key), "\u0001"];
        const parsed = parse(mode, ...(mode === "call" ? ["task"] : []), ...args);
        const shown = parsed.kind === "text" ? parsed.stderr : "";
        expect(shown).not.toContain("Unexpected");
        expect(shown).not.toContain("no meaning");
      }
    }
  });
});

describe("parseCommandLine() help", () => {
  test("nothing asked for prints the help and is wrong usage", () => {
    const { exitCode, stdout } = told();
    expect(exitCode).toBe(2);
    expect(stdout).toBe(told("--help").stdout);
    for (const mode of MODES) expect(stdout).toContain(COMMANDS[mode].brief);
  });

  test("--help and -h are well, --version says the version alone", () => {
    expect(told("--help").exitCode).toBe(0);
    expect(told("-h")).toEqual(told("--help"));
    expect(told("--version")).toEqual({
      kind: "text",
      exitCode: 0,
      stdout: `${VERSION}\n`,
      stderr: "",
    });
  });

  test.each(MODES)("%s --help tells its flags with their defaults, and examples", (mode) => {
    const { exitCode, stdout, stderr } = told(mode, "--help");
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toContain(`Usage: app ${mode} [FLAGS]`);
    for (const key of SETTING_KEYS) {
      const setting = settingOf(key);
      const isOn = setting.kind === "switch" && (setting.fallbackIn?.[mode] ?? setting.fallback);
      const flag = new RegExp(`^ +${isOn ? negatedFlagOf(key) : flagOf(key)} `, "m");
      expect(flag.test(stdout)).toBe(setting.modes.includes(mode));
    }
    for (const [line] of COMMANDS[mode].examples) expect(stdout).toContain(`\n  ${line}\n`);
  });

  test("defaults are the ones of the command", () => {
    expect(told("work", "--help").stdout).toContain("[amqp://localhost:5672]");
    expect(told("all", "--help").stdout).not.toContain("[amqp://localhost:5672]");
    expect(told("call", "--help").stdout).toMatch(/--log-level LEVEL .*\[warning\]/);
    expect(told("all", "--help").stdout).toMatch(/--port PORT .*\[8888\]/);
  });

  test("help asks for no configuration", () => {
    expect(told("all", "--port", "x", "--help").exitCode).toBe(0);
  });

  test("examples name the program as it is called", () => {
    const help = parseCommandLine(["all", "--help"], { programName: "tiller" }, surroundings);
    expect(help).toMatchObject({ stdout: expect.stringContaining("\n  tiller all\n") });
  });

  test("every example is one that works", () => {
    const words = (line: string) =>
      [...line.replace(/ < .*/, "").matchAll(/'([^']*)'|(\S+)/g)]
        .map(([, quoted, bare]) => quoted ?? bare ?? "");
    const withFiles = { ...surroundings, readText: tokenFile };
    for (const mode of MODES) {
      for (const [line] of COMMANDS[mode].examples.filter(([line]) => line.startsWith("app "))) {
        const parsed = parseCommandLine(
          words(line).slice(1),
          { programName: "app" },
          withFiles,
        );
        expect(parsed).toMatchObject({ kind: "command" });
      }
    }
  });
});

function tokenFile(path: string): string {
  return path.endsWith("token") ? "abc\n" : surroundings.readText(path);
}

describe("parseCommandLine() completion", () => {
  test.each(["bash", "zsh", "fish"])("makes a script for %s", (shell) => {
    const { exitCode, stdout } = told("completion", shell);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("app");
  });

  test("suggests commands, flags and choices", () => {
    expect(told("completion", "bash", "se").stdout).toContain("serve");
    expect(told("completion", "bash", "serve", "--po").stdout).toContain("--port");
    expect(told("completion", "bash", "work", "--log-level", "w").stdout).toContain("warning");
    expect(told("completion", "bash", "serve", "--iso").stdout).not.toContain("--isolates");
  });
});

describe("parseCommandLine() mistakes", () => {
  const mistake = (...args: string[]) => {
    const { exitCode, stdout, stderr } = told(...args);
    expect([exitCode, stdout]).toEqual([2, ""]);
    return stderr;
  };

  test("a misspelt command or flag gets its suggestion", () => {
    expect(mistake("serv")).toContain("Did you mean `serve`?");
    expect(mistake("serve", "--prot", "1")).toContain("`--port`");
    expect(mistake("work", "--isolate", "1")).toContain("`--isolates`");
  });

  test("says where the help is", () => {
    expect(mistake("nothing-like-it")).toEndWith('Run "app --help" for the commands.\n');
    expect(mistake("call")).toEndWith('Run "app call --help" for its flags and examples.\n');
  });

  test("a missing value, a missing task, a word too many", () => {
    expect(mistake("all", "--port")).toContain("`--port` requires `PORT`");
    expect(mistake("call")).toContain("TASK");
    expect(mistake("work", "stray")).toContain('"stray"');
    expect(mistake("all", "--insecure", "--insecure")).toContain("multiple times");
  });

  test("a number below zero as input", () => {
    expect(mistake("call", "echo", "-1")).toContain("-- -1");
  });

  test("all problems of the settings at once", () => {
    const stderr = mistake("serve", "--isolates", "4", "--port", "x", "--no-demo");
    expect(stderr).toBe(
      "Cannot start serve: there are 3 problems with its settings\n" +
        "  --isolates: has no meaning for serve; it belongs to all, work\n" +
        "  --no-demo: has no meaning for serve; it belongs to all, work\n" +
        "  --port x: expected a whole number from 0 to 65535\n" +
        'Run "app serve --help" for its flags and examples.\n',
    );
  });
});
