/** What goes wrong at the start: one clear message each, and the exit code that scripts rely on. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../../scripts/services/ports.ts";
import { type RabbitMq, startRabbitMq } from "../../scripts/services/rabbitmq.ts";
import { type App, runApp, startNode, temporaryFolder } from "../support/app.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

function file(path: string, source: string): string {
  const full = join(folder.path, path);
  mkdirSync(join(full, ".."), { recursive: true });
  writeFileSync(full, source);
  return full;
}

/** Runs a command that must fail, and checks that it says so in words alone. */
async function fails(
  args: readonly string[],
  cwd?: string,
): Promise<{ code: number; log: string }> {
  const { code, log, output } = await runApp(args, cwd === undefined ? {} : { cwd });
  expect(output).toBe("");
  expect(log).not.toMatch(/\n\s+at .*[:(]/);
  expect(log.length).toBeGreaterThan(0);
  return { code, log };
}

describe("a start without", () => {
  test.each(["serve", "work"])("a broker: %s ends with 3", async (mode) => {
    const [port = 0] = await freePorts(1);
    const url = `amqp://user:s3cret@127.0.0.1:${port}`;
    const { code, log } = await fails([mode, "--amqp-url", url, "--connect-timeout", "500ms"]);
    expect(code).toBe(3);
    expect(log).toContain(String(port));
    expect(log).not.toContain("s3cret");
  });

  test("a free port ends with 2", async () => {
    await using first = await startNode(["all", "--port", "0"]);
    const { code, log } = await fails(["all", "--port", new URL(first.url).port]);
    expect(code).toBe(2);
    expect(log).toContain(new URL(first.url).port);
  });

  test("a token on an address beyond loopback ends with 2", async () => {
    const { code, log } = await fails(["all", "--host", "0.0.0.0", "--port", "0"]);
    expect(code).toBe(2);
    expect(log).toContain("--token");
  });
});

test("three mistakes in the configuration are told together", async () => {
  const config = file("bad.json", JSON.stringify({ port: "many", slots: 0, graec: "1s" }));
  const { code, log } = await fails(["all", "--config", config]);
  expect(code).toBe(2);
  for (const word of ["port", "slots", "graec"]) expect(log).toContain(word);
});

test("an unknown flag is told with the one that was likely meant", async () => {
  const { code, log } = await fails(["all", "--prot", "1"]);
  expect(code).toBe(2);
  expect(log).toContain("--port");
});

describe("task files:", () => {
  const start = (...paths: string[]) => fails(["all", "--port", "0", "--tasks", ...paths]);

  test("two tasks of one name: both files are named", async () => {
    const one = file("twice/one.ts", `import { task } from "coxswain"; task("same", () => 1);`);
    const two = file("twice/two.ts", `import { task } from "coxswain"; task("same", () => 2);`);
    const { code, log } = await start(join(folder.path, "twice"));
    expect(code).toBe(2);
    expect(log).toContain("same");
    expect(log).toContain(one);
    expect(log).toContain(two);
  });

  test("a syntax error: the file and the reason", async () => {
    const bad = file("syntax/bad.ts", "export const = 1;");
    const { code, log } = await start(bad);
    expect(code).toBe(2);
    expect(log).toContain(bad);
  });

  test("a path that is not there", async () => {
    const { code, log } = await start(join(folder.path, "nowhere"));
    expect(code).toBe(2);
    expect(log).toContain("nowhere");
  });
});

test("wrong credentials end with 3 at once, without the password", async () => {
  const rabbit: RabbitMq = await startRabbitMq();
  try {
    const url = `amqp://guest:wr0ng@127.0.0.1:${rabbit.port}`;
    const { code, log } = await fails(["work", "--amqp-url", url]);
    expect(code).toBe(3);
    expect(log).not.toContain("wr0ng");
  } finally {
    await rabbit.dispose();
  }
}, 60_000);

describe("app call", () => {
  let app: App;
  beforeAll(async () => {
    app = await startNode(["all", "--port", "0"]);
  });
  afterAll(() => app[Symbol.asyncDispose]());

  test.each<[string, string[], number, string]>([
    ["prints a result", ["math.add", "[1,2]"], 0, "3\n"],
    ["fails with the task", ["fail", '["boom"]'], 1, ""],
    ["fails on its input", ["echo", "{nonsense"], 2, ""],
    ["fails on an unknown task", ["no.such.task"], 2, ""],
    ["fails on a limit", ["dead", "--timeout", "100ms"], 4, ""],
  ])("%s: %j ends with %d", async (_, args, exit, expected) => {
    const { code, output, log } = await runApp(["call", ...args, "--url", app.url]);
    expect(code).toBe(exit);
    expect(output).toBe(expected);
    if (exit !== 0) expect(log.length).toBeGreaterThan(0);
  });

  test("without a front ends with 3", async () => {
    const [port = 0] = await freePorts(1);
    const { code } = await fails(["call", "echo", "--url", `http://127.0.0.1:${port}`]);
    expect(code).toBe(3);
  });
});

test.each([[], ["all"], ["serve"], ["work"], ["call"], ["tasks"]])(
  "--help of %s is on standard output",
  async (...command: string[]) => {
    const { code, output, log } = await runApp([...command, "--help"]);
    expect(code).toBe(0);
    expect(log).toBe("");
    expect(output).toContain("Usage");
  },
);

test("a blank token file is refused", async () => {
  const { code, log } = await fails(["all", "--port", "0", "--token-file", file("blank", "\n")]);
  expect(code).toBe(2);
  expect(log).toContain("token");
});
