/** The program itself, started from source as its users start it. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ISOLATE_PROCESS_ARGUMENT } from "../../src/isolates/process_isolate.ts";
import { VERSION } from "../../src/version.ts";

const MAIN = join(import.meta.dir, "../../main.ts");
const folder = mkdtempSync(join(tmpdir(), "coxswain-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

const ENV = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" };

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function start(
  command: readonly string[],
  { stdin = "", env = {} }: { stdin?: string; env?: Readonly<Record<string, string>> } = {},
): Promise<Ended> {
  const child = Bun.spawn([...command], {
    cwd: folder,
    env: { ...ENV, ...env },
    stdin: new TextEncoder().encode(stdin),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, stdout, stderr };
}

const app = (args: readonly string[], options?: Parameters<typeof start>[1]) =>
  start([process.execPath, MAIN, ...args], options);

describe("the program", () => {
  test("without a command prints its help and exits with 2", async () => {
    const { code, stdout, stderr } = await app([]);
    expect([code, stderr]).toEqual([2, ""]);
    expect(stdout).toContain("Usage: app COMMAND [FLAGS]");
  });

  test("prints its version", async () => {
    expect(await app(["--version"])).toEqual({ code: 0, stdout: `${VERSION}\n`, stderr: "" });
  });

  test("prints the whole of a long text into a pipe", async () => {
    const { code, stdout } = await app(["completion", "bash"]);
    expect(code).toBe(0);
    expect(stdout.length).toBeGreaterThan(1_000);
    expect(stdout).toEndWith("\n");
  });

  test("reports every problem of its settings, from every source, and exits with 2", async () => {
    const file = join(folder, "site.json");
    writeFileSync(file, JSON.stringify({ slots: "none", prot: 8888 }));
    const { code, stdout, stderr } = await app(["all", "--port", "x"], {
      env: { COX_CONFIG: file, COX_ISOLATES: "0" },
    });
    expect([code, stdout]).toEqual([2, ""]);
    expect(stderr.split("\n").slice(0, 5)).toEqual([
      "Cannot start all: there are 4 problems with its settings",
      `  ${file}: prot: no such setting; did you mean "port"?`,
      "  --port x: expected a whole number from 0 to 65535",
      "  COX_ISOLATES=0: expected a whole number from 1 to 1024",
      `  ${file}: slots = none: expected a whole number from 1 to 10000`,
    ]);
  });

  test("refuses to listen for other machines without a token", async () => {
    const { code, stderr } = await app(["serve", "--host", "0.0.0.0"]);
    expect(code).toBe(2);
    expect(stderr).toContain("give a --token, or --insecure");
  });

  test("call says that no front is there and exits with 3", async () => {
    const { code, stdout, stderr } = await app(["call", "x", "--url", "http://127.0.0.1:1"]);
    expect([code, stdout]).toEqual([3, ""]);
    expect(stderr).toStartWith("Cannot reach a front at http://127.0.0.1:1: ");
  });

  test("call sends standard input to a front and prints the answer, 10 MiB too", async () => {
    const front = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => new Response(await request.text()),
    });
    try {
      const input = JSON.stringify(["x".repeat(10 * 2 ** 20)]);
      const url = `http://127.0.0.1:${front.port}`;
      const { code, stdout, stderr } = await app(["call", "echo", "-", "--url", url], {
        stdin: input,
      });
      expect([code, stderr]).toEqual([0, ""]);
      expect(stdout === `${input}\n`).toBe(true);
    } finally {
      await front.stop(true);
    }
  });

  test("Ctrl-C cancels a call", async () => {
    const arrived = Promise.withResolvers<void>();
    const front = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch() {
        arrived.resolve();
        return Promise.withResolvers<Response>().promise;
      },
    });
    const child = Bun.spawn(
      [process.execPath, MAIN, "call", "x", "--url", `http://127.0.0.1:${front.port}`],
      { cwd: folder, env: ENV, stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    );
    try {
      await arrived.promise;
      child.kill("SIGINT");
      expect(await child.exited).toBe(130);
      expect(await new Response(child.stderr).text()).toBe('The call of task "x" was cancelled.\n');
    } finally {
      child.kill("SIGKILL");
      await front.stop(true);
    }
  });

  test("tasks shows what a front knows", async () => {
    const front = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => Response.json([{ name: "a", queue: "q", timeoutMs: 1_000, nodes: ["n"] }]),
    });
    try {
      const { code, stdout } = await app(["tasks", "--url", `http://127.0.0.1:${front.port}`]);
      expect(code).toBe(0);
      expect(stdout).toBe(
        "TASK  QUEUE  LIMIT  ISOLATION  NODES\na     q      1s                n\n",
      );
    } finally {
      await front.stop(true);
    }
  });

  test("knows the hidden command by the name that isolates start it with", async () => {
    expect(await Bun.file(MAIN).text()).toContain(`args[0] === "${ISOLATE_PROCESS_ARGUMENT}"`);
    const { code, stderr } = await app([ISOLATE_PROCESS_ARGUMENT]);
    expect(code).not.toBe(0);
    expect(stderr).not.toContain("subcommand");
  });
});

test("run by another runtime it says in one line why it runs on Bun, and how", async () => {
  const deno = Bun.which("deno");
  const command = deno === null ? ["npx", "-y", "deno"] : [deno];
  const { code, stdout, stderr } = await start([...command, "run", MAIN, "all"]);
  expect([code, stdout]).toEqual([2, ""]);
  expect(stderr.trim().split("\n")).toHaveLength(1);
  expect(stderr).toContain('start it with "deno task start"');
}, 30_000);
