import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { parseInput } from "../../src/calls/input.ts";
import { EXIT } from "../../src/cli/exit_code.ts";
import { FrontClient } from "../../src/cli/front_client.ts";
import { StartupError } from "../../src/cli/startup_error.ts";

interface Asked {
  readonly url: URL;
  readonly method: string;
  readonly headers: Headers;
  readonly body: string;
}

let asked: Asked[] = [];
let answer: (asked: Asked, request: Request) => Response | Promise<Response>;
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request) {
    const { url, method, headers } = request;
    const one = { url: new URL(url), method, headers, body: await request.text() };
    asked.push(one);
    return await answer(one, request);
  },
});
const url = `http://127.0.0.1:${server.port}`;
afterAll(() => server.stop(true));
beforeEach(() => {
  asked = [];
  answer = () => new Response("3");
});

const client = new FrontClient({ url });

function problem(status: number, fields: Readonly<Record<string, unknown>>): void {
  answer = () =>
    Response.json(fields, { status, headers: { "content-type": "application/problem+json" } });
}

async function failureOf(promise: Promise<unknown>): Promise<StartupError> {
  const error = await promise.then(() => undefined, (reason: unknown) => reason);
  if (!(error instanceof StartupError)) throw new Error(`Expected a StartupError, got ${error}`);
  return error;
}

describe("FrontClient.call() asks", () => {
  test("with the task's name, the input, options and headers", async () => {
    const ending = await client.call("wéird/näme 1", parseInput("[1,2]"), {
      headers: { "x-user": "7" },
      queue: "a b",
      priority: 9,
      expiresMs: 1_500,
      timeoutMs: 3_000,
      persistent: true,
      once: true,
    });
    expect(ending).toEqual({ kind: "succeeded", resultJson: "3", headers: {} });
    const [{ url: target, method, headers, body } = asked[0]!] = asked;
    expect(method).toBe("POST");
    expect(decodeURIComponent(target.pathname)).toBe("/tasks/wéird/näme 1/call");
    expect(target.pathname.split("/")).toHaveLength(4);
    expect(Object.fromEntries(target.searchParams)).toEqual({
      queue: "a b",
      priority: "9",
      expires: "1500ms",
      timeout: "3s",
      persistent: "true",
      once: "true",
    });
    expect(headers.get("x-user")).toBe("7");
    expect(headers.get("content-type")).toBe("application/json");
    expect(headers.has("authorization")).toBe(false);
    expect(body).toBe("[1,2]");
  });

  test.each([['{"a":1}'], ['[1,{"b":[]}]']])("with %s as it is", async (input) => {
    await client.call("echo", parseInput(input));
    expect(asked[0]?.body).toBe(input);
  });

  test("with its token", async () => {
    await new FrontClient({ url, token: "abc" }).call("echo", parseInput(""));
    expect(asked[0]?.headers.get("authorization")).toBe("Bearer abc");
    expect(asked[0]?.body).toBe("[]");
  });
});

describe("FrontClient.call() reads", () => {
  test.each([
    [504, { type: "about:/timed-out", limitMs: 3_000 }, { kind: "timed_out", limitMs: 3_000 }],
    [503, { type: "urn:x:expired" }, { kind: "expired" }],
    [409, { type: "cancelled" }, { kind: "cancelled" }],
    [404, { type: "https://h/p#unknown-task" }, { kind: "unknown_task", task: "t" }],
    [404, { type: "/p/unknown-queue", queue: "q" }, { kind: "unknown_queue", queue: "q" }],
    [502, { type: "/worker-lost", detail: "d" }, { kind: "worker_lost", message: "d" }],
    [502, { type: "/outcome-unknown", detail: "d" }, { kind: "outcome_unknown", message: "d" }],
    [502, { type: "/unreadable-reply", title: "t" }, { kind: "unreadable_reply", message: "t" }],
    [503, { type: "/broker-away", detail: "d" }, { kind: "broker_away", message: "d" }],
    [429, { type: "/too-many-waiting", limit: 5 }, { kind: "too_many_waiting", limit: 5 }],
    [413, { type: "/too-large", detail: "d" }, { kind: "refused", message: "d" }],
  ])("%d %p", async (status, fields, ending) => {
    problem(status, fields);
    expect(await client.call("t", parseInput(""))).toEqual(ending as never);
  });

  test("a task's error with its stack, and a schema's issues", async () => {
    problem(500, { type: "/task-failed", error: { type: "TypeError", message: "m", stack: "s" } });
    expect(await client.call("t", parseInput(""))).toMatchObject({
      kind: "failed",
      error: { type: "TypeError", message: "m", stack: "s" },
    });
    const issues = [{ message: "too small", path: ["a", 0] }];
    problem(422, { type: "/invalid-input", detail: "no", issues });
    expect(await client.call("t", parseInput(""))).toEqual({
      kind: "failed",
      error: {
        type: "InvalidInput",
        message: "no",
        issues: [{ message: "too small", path: ["a", "0"] }],
      },
      headers: {},
    });
    problem(422, {
      type: "/invalid-input",
      error: { type: "InvalidInput", message: "no", issues },
    });
    expect(await client.call("t", parseInput(""))).toMatchObject({
      error: { issues: [{ message: "too small" }] },
    });
    problem(422, { type: "/invalid-input", detail: "no" });
    expect(await client.call("t", parseInput(""))).toMatchObject({
      error: { type: "InvalidInput", message: "no" },
    });
  });

  test("what is no front's answer", async () => {
    answer = () => new Response("<html>  Bad\nGateway</html>", { status: 502 });
    expect(await client.call("t", parseInput(""))).toEqual({
      kind: "unreadable_reply",
      message: "HTTP 502: <html> Bad Gateway</html>",
    });
    answer = () => new Response(null, { status: 500 });
    expect(await client.call("t", parseInput(""))).toMatchObject({
      message: "HTTP 500: no reason given",
    });
  });
});

describe("FrontClient.call() fails", () => {
  test("where no front answers", async () => {
    const closed = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response() });
    const { port } = closed;
    await closed.stop(true);
    const error = await failureOf(
      new FrontClient({ url: `http://127.0.0.1:${port}` }).call("t", parseInput("")),
    );
    expect(error.exitCode).toBe(EXIT.noBroker);
    expect(error.message).toContain(`Cannot reach a front at http://127.0.0.1:${port}: connection`);
  });

  test("where the token is missing or wrong", async () => {
    problem(401, { detail: "who are you" });
    const missing = await failureOf(client.call("t", parseInput("")));
    expect([missing.exitCode, missing.message]).toEqual([
      EXIT.wrongUsage,
      `The front at ${url} asks for a token: give it with --token or --token-file (who are you)`,
    ]);
    const wrong = await failureOf(new FrontClient({ url, token: "x" }).call("t", parseInput("")));
    expect(wrong.message).toContain("does not accept the token");
    expect(wrong.message).not.toContain('"x"');
  });

  test("an abort is a cancelled call, and the front sees its caller go", async () => {
    const arrived = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<void>();
    answer = (_asked, request) => {
      request.signal.addEventListener("abort", () => gone.resolve());
      arrived.resolve();
      return Promise.withResolvers<Response>().promise;
    };
    const abort = new AbortController();
    const call = client.call("t", parseInput(""), {}, abort.signal);
    await arrived.promise;
    expect(client.pending).toBe(1);
    abort.abort();
    expect(await call).toEqual({ kind: "cancelled" });
    await gone.promise;
    expect(client.pending).toBe(0);
  });
});

describe("FrontClient.tasks()", () => {
  test("gives the list as it came", async () => {
    answer = () => new Response('[{"name":"a"}]');
    expect(await client.tasks()).toBe('[{"name":"a"}]');
    expect(asked[0]?.url.pathname).toBe("/tasks");
  });

  test("tells what the front says", async () => {
    problem(503, { detail: "starting" });
    expect((await failureOf(client.tasks())).message).toBe(
      `The front at ${url} refused: starting`,
    );
  });
});
