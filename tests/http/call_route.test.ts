import { describe, expect, test } from "bun:test";
import type { Ending } from "../../src/calls/outcome.ts";
import { front, post, problemOf, succeeded } from "./front.ts";

describe("POST /tasks/{task}/call", () => {
  test("answers with the result as the worker wrote it", async () => {
    const { app, caller } = front();
    caller.script = () => ({
      kind: "succeeded",
      resultJson: '{"n":12345678901234567890,"x": 1.0}',
      headers: { "X-Width": "20", "set-cookie": "a=b" },
    });
    const response = await post(app, "/tasks/math.add/call", "[1,2]");
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(response.headers.get("x-width")).toBe("20");
    expect(response.headers.get("set-cookie")).toBeNull();
    expect(await response.text()).toBe('{"n":12345678901234567890,"x": 1.0}');
    expect(caller.last).toMatchObject({
      task: "math.add",
      input: { argsJson: "[1,2]", kwargsJson: "{}" },
      options: { headers: {} },
    });
  });

  test("takes any JSON, whatever its content type, and no body for no argument", async () => {
    const { app, caller } = front();
    const inputs: [body: string, argsJson: string, kwargsJson: string][] = [
      ["", "[]", "{}"],
      ["  ", "[]", "{}"],
      ['{"a":1}', "[]", '{"a":1}'],
      ["null", "[null]", "{}"],
      ['"é"', '["é"]', "{}"],
      ["[12345678901234567890]", "[12345678901234567890]", "{}"],
    ];
    for (const [body, argsJson, kwargsJson] of inputs) {
      const response = await post(app, "/tasks/t/call", body, {
        "content-type": "application/x-www-form-urlencoded",
      });
      expect(response.status).toBe(200);
      expect(caller.last.input).toEqual({ argsJson, kwargsJson });
    }
    expect((await app.request("/tasks/t/call", { method: "POST" })).status).toBe(200);
    expect(caller.last.input.argsJson).toBe("[]");
  });

  test("reads every option, and forwards header fields", async () => {
    const { app, caller } = front();
    const query = "?timeout=1.5s&expires=2m&priority=10&queue=a%20b&persistent=true&once";
    await post(app, `/tasks/t/call${query}`, "", { "x-who": "me", cookie: "a=b" });
    expect(caller.last.options).toEqual({
      timeoutMs: 1_500,
      expiresMs: 120_000,
      priority: 10,
      queue: "a b",
      persistent: true,
      once: true,
      headers: { "x-who": "me" },
    });
    await post(app, "/tasks/t/call?persistent=false&once=0&priority=0&", "");
    expect(caller.last.options).toEqual({
      persistent: false,
      once: false,
      priority: 0,
      headers: {},
    });
  });

  const badQueries: [query: string, ...mentions: string[]][] = [
    ["timeout=soon", "timeout", '"soon"', "3s"],
    ["timeout=0s", "timeout", "above zero"],
    ["timeout=5", "timeout", "3s"],
    ["expires=25h", "expires", "24h"],
    ["expires=-1s", "expires"],
    ["priority=11", "priority", "0 to 10"],
    ["priority=-1", "priority"],
    ["priority=1.5", "priority"],
    ["priority=", "priority"],
    ["once=perhaps", "once", "true or false"],
    ["queue=", "queue"],
    ["queue=cox.recorder", "queue"],
    ["queue=amq.gen-1", "queue"],
    ["queue=reply.1", "queue"],
    ["queue=celery.pidbox", "queue"],
    [`queue=${"q".repeat(256)}`, "queue", "255"],
    ["timeout=1s&timeout=2s", "timeout", "twice"],
    ["tiemout=1s", "tiemout", "timeout"],
    ["toString=1", "toString"],
    ["__proto__=1", "__proto__"],
  ];
  for (const [query, ...mentions] of badQueries) {
    test(`answers 400 for ?${query.slice(0, 40)}`, async () => {
      const { app, caller } = front();
      const response = await post(app, `/tasks/t/call?${query}`, "[]");
      expect(response.status).toBe(400);
      const { type, detail } = await problemOf(response);
      expect(type).toBe("/problems/bad-request");
      for (const mention of mentions) expect(detail).toContain(mention);
      expect(caller.seen).toEqual([]);
    });
  }

  test("publishes to Celery's own default queue when asked", async () => {
    const { app, caller } = front();
    await post(app, "/tasks/t/call?queue=celery", "");
    expect(caller.last.options.queue).toBe("celery");
  });

  test("answers 400 with the position where the body stops being JSON", async () => {
    const { app } = front();
    const { detail } = await problemOf(await post(app, "/tasks/t/call", '{\n  "a": nope}'));
    expect(detail).toBe(
      'The body is not JSON: unexpected "n" at position 9 (line 2, column 8)',
    );
    const cut = await problemOf(await post(app, "/tasks/t/call", "[1,"));
    expect(cut.detail).toContain("unexpected end at position 3");
  });

  test("answers 400 for a body that is not UTF-8", async () => {
    const { app } = front();
    const body = new Uint8Array([0x22, 0xff, 0x22]);
    const response = await app.request("/tasks/t/call", { method: "POST", body });
    expect((await problemOf(response)).detail).toContain("UTF-8");
  });

  test("answers 413 for a body over the limit, and takes one at the limit", async () => {
    const { app, caller } = front({ options: { maxBodyBytes: 10 } });
    const response = await post(app, "/tasks/t/call", `"${"x".repeat(9)}"`);
    expect(response.status).toBe(413);
    expect(await problemOf(response)).toMatchObject({ type: "/problems/too-large", maxBytes: 10 });
    expect(caller.seen).toEqual([]);
    expect((await post(app, "/tasks/t/call", `"${"x".repeat(8)}"`)).status).toBe(200);
  });

  test("answers 415 for a compressed body", async () => {
    const { app } = front();
    const response = await post(app, "/tasks/t/call", "x", { "content-encoding": "gzip" });
    expect(response.status).toBe(415);
    expect((await problemOf(response)).detail).toContain("gzip");
    expect((await post(app, "/tasks/t/call", "1", { "content-encoding": "identity" })).status)
      .toBe(200);
  });

  const names = [
    "math.add",
    "wéird/näme 1",
    "日本",
    "a?b#c&d=e%20",
    "100%",
    "%2F",
    "a\\b",
    "...",
    " ",
    "x".repeat(5_000),
    'quote"s',
    "a:b,c;d@e!$'()*+",
    "new\nline",
  ];
  for (const name of names) {
    test(`calls the task named ${JSON.stringify(name.slice(0, 20))}`, async () => {
      const { app, caller } = front();
      const response = await post(app, `/tasks/${encodeURIComponent(name)}/call`, "");
      expect(response.status).toBe(200);
      expect(caller.last.task).toBe(name);
    });
  }

  test("answers 400 for a name that is not percent-encoded UTF-8", async () => {
    const { app } = front();
    for (const raw of ["%zz", "%ff", "50%", "%C3%28"]) {
      const response = await post(app, `/tasks/${raw}/call`, "");
      expect(response.status).toBe(400);
      expect((await problemOf(response)).detail).toContain("percent");
    }
  });

  test("gives the client's signal to the call", async () => {
    const { app, caller } = front();
    const gone = new AbortController();
    const started = Promise.withResolvers<void>();
    caller.script = ({ signal }) => {
      started.resolve();
      return new Promise((resolve) =>
        signal?.addEventListener("abort", () => resolve({ kind: "cancelled" }))
      );
    };
    const response = app.request("/tasks/t/call", { method: "POST", signal: gone.signal });
    await started.promise;
    gone.abort();
    expect((await response).status).toBe(409);
  });

  test("keeps the connection open while the call runs, and no longer", async () => {
    const { app, caller } = front();
    const log: string[] = [];
    caller.script = () => {
      log.push("call");
      return succeeded(1);
    };
    const connection = {
      holdOpen: () => void log.push("hold"),
      release: () => void log.push("release"),
    };
    const request = new Request("http://localhost/tasks/t/call", { method: "POST" });
    await app.fetch(request, connection);
    expect(log).toEqual(["call", "hold", "release"]);
  });
});

describe("an ending that is no result", () => {
  const table: [
    ending: Ending,
    status: number,
    name: string,
    members: object,
    retryAfter?: true,
  ][] = [
    [
      {
        kind: "failed",
        error: { type: "TeapotError", message: "short", stack: "at some.ts" },
        headers: {},
      },
      500,
      "task-failed",
      { error: { type: "TeapotError", message: "short" }, task: "t" },
    ],
    [
      {
        kind: "failed",
        error: {
          type: "InvalidInput",
          message: "must be even",
          issues: [{ message: "must be even", path: ["a"] }],
        },
        headers: {},
      },
      422,
      "invalid-input",
      { issues: [{ message: "must be even", path: ["a"] }], error: { type: "InvalidInput" } },
    ],
    [{ kind: "timed_out", limitMs: 3_000 }, 504, "timed-out", { limitMs: 3_000 }],
    [{ kind: "expired" }, 503, "expired", {}, true],
    [{ kind: "cancelled" }, 409, "cancelled", {}],
    [{ kind: "unknown_task", task: "t" }, 404, "unknown-task", { task: "t" }],
    [{ kind: "not_registered", task: "t" }, 404, "unknown-task", { task: "t" }],
    [{ kind: "unknown_queue", queue: "q" }, 404, "unknown-queue", { task: "t", queue: "q" }],
    [{ kind: "worker_lost", message: "it died" }, 502, "worker-lost", { detail: "it died" }],
    [{ kind: "outcome_unknown", message: "lost" }, 502, "outcome-unknown", { detail: "lost" }],
    [{ kind: "unreadable_reply", message: "bad" }, 502, "unreadable-reply", { detail: "bad" }],
    [{ kind: "broker_away", message: "away" }, 503, "broker-away", { detail: "away" }, true],
    [{ kind: "too_many_waiting", limit: 7 }, 429, "too-many-waiting", { limit: 7 }, true],
    [{ kind: "refused", message: "too long" }, 400, "refused", { detail: "too long" }],
  ];
  for (const [ending, status, name, members, retryAfter] of table) {
    test(`${ending.kind} is ${status} ${name}`, async () => {
      const { app, caller } = front();
      caller.script = () => ending;
      const response = await post(app, "/tasks/t/call", "");
      expect(response.status).toBe(status);
      expect(response.headers.has("retry-after")).toBe(retryAfter === true);
      const problem = await problemOf(response);
      expect(problem).toMatchObject({
        type: `/problems/${name}`,
        title: expect.stringMatching(/./),
        status,
        detail: expect.stringMatching(/./),
        instance: "urn:uuid:00000000-0000-7000-8000-000000000000",
        ...members,
      });
      expect(JSON.stringify(problem)).not.toContain("some.ts");
    });
  }

  test("comes with the header fields that the task set before it failed", async () => {
    const { app, caller } = front();
    caller.script = () => ({
      kind: "failed",
      error: { type: "E", message: "" },
      headers: { "x-a": "1", "content-type": "text/html" },
    });
    const response = await post(app, "/tasks/t/call", "");
    expect(response.headers.get("x-a")).toBe("1");
    expect((await problemOf(response)).detail).toBe('Task "t" failed: E');
  });

  test("tells a failed task's stack only where the operator wants it", async () => {
    const { app, caller } = front({ options: { exposeErrors: true } });
    caller.script = () => ({
      kind: "failed",
      error: { type: "E", message: "m", stack: "at some.ts" },
      headers: {},
    });
    expect(await problemOf(await post(app, "/tasks/t/call", ""))).toMatchObject({
      error: { type: "E", message: "m", stack: "at some.ts" },
    });
  });

  test("tells a limit that a worker wrote badly, and shortens a long name", async () => {
    const { app, caller } = front();
    caller.script = () => ({ kind: "timed_out", limitMs: Number.NaN });
    expect((await post(app, "/tasks/t/call", "")).status).toBe(504);
    const name = "n".repeat(5_000);
    caller.script = () => ({ kind: "unknown_task", task: name });
    const { detail } = await problemOf(await post(app, `/tasks/${name}/call`, ""));
    expect(detail.length).toBeLessThan(400);
  });
});
