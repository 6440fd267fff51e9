import { describe, expect, test } from "bun:test";
import { front, post, problemOf, succeeded, untilCancelled } from "./front.ts";

const parallel = (app: Parameters<typeof post>[0], calls: unknown, query = "") =>
  post(app, `/parallel${query}`, typeof calls === "string" ? calls : JSON.stringify(calls));

describe("POST /parallel", () => {
  test("answers in the order of the calls, whatever ends first", async () => {
    const { app, caller } = front();
    const second = Promise.withResolvers<void>();
    caller.script = async ({ task }) => {
      if (task === "b") second.resolve();
      await second.promise;
      return task === "c"
        ? { kind: "failed", error: { type: "E", message: "m" }, headers: {} }
        : { kind: "succeeded", resultJson: `{"of":"${task}", "n":1.0}`, headers: {} };
    };
    const response = await parallel(app, [{ task: "a" }, { task: "b" }, { task: "c" }]);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("application/json");
    const text = await response.text();
    expect(text).toStartWith('[{"result":{"of":"a", "n":1.0}},{"result":{"of":"b", "n":1.0}},');
    expect(JSON.parse(text)[2]).toMatchObject({
      error: {
        type: "/problems/task-failed",
        status: 500,
        task: "c",
        error: { type: "E", message: "m" },
      },
    });
  });

  test("answers no calls with an empty list", async () => {
    expect(await (await parallel(front().app, [])).text()).toBe("[]");
  });

  test("reads inputs as a call's body, and options of each over those of all", async () => {
    const { app, caller } = front();
    await post(
      app,
      "/parallel?priority=3&timeout=1s",
      JSON.stringify([
        { task: "a", input: [1, 2], priority: 5, queue: "q", once: true, expires: "2s" },
        { task: "b", input: { x: 1 }, persistent: "true" },
        { task: "c", input: null },
        { task: "d" },
      ]),
      { "x-who": "me" },
    );
    const headers = { "x-who": "me" };
    expect(caller.seen.map(({ task, input, options }) => ({ task, input, options }))).toEqual([
      {
        task: "a",
        input: { argsJson: "[1,2]", kwargsJson: "{}" },
        options: {
          priority: 5,
          timeoutMs: 1_000,
          queue: "q",
          once: true,
          expiresMs: 2_000,
          headers,
        },
      },
      {
        task: "b",
        input: { argsJson: "[]", kwargsJson: '{"x":1}' },
        options: { priority: 3, timeoutMs: 1_000, persistent: true, headers },
      },
      {
        task: "c",
        input: { argsJson: "[null]", kwargsJson: "{}" },
        options: { priority: 3, timeoutMs: 1_000, headers },
      },
      {
        task: "d",
        input: { argsJson: "[]", kwargsJson: "{}" },
        options: { priority: 3, timeoutMs: 1_000, headers },
      },
    ]);
  });

  test("passes numbers on as they were written", async () => {
    const { app, caller } = front();
    await parallel(
      app,
      '[{"task":"a","priority":1,"input":[12345678901234567890, 1.0, 1e2, 0.5]}]',
    );
    expect(caller.last.input.argsJson).toBe("[12345678901234567890,1.0,1e2,0.5]");
    expect(caller.last.options.priority).toBe(1);
  });

  const refused: [calls: unknown, ...mentions: string[]][] = [
    ["{nonsense", "position 1"],
    ["", "unexpected end"],
    [{ task: "a" }, "array"],
    [[{ task: "a" }, 1], "Call 2", "object"],
    [[{ input: 1 }], "Call 1", '"task"'],
    [[{ task: "" }], '"task"'],
    [[{ task: "a", priority: 11 }], "priority", "0 to 10"],
    [[{ task: "a", priority: null }], "priority"],
    [[{ task: "a", timeout: 3 }], "timeout", "3s"],
    [[{ task: "a", inptu: 3 }], "inptu"],
    [Array.from({ length: 1_001 }, () => ({ task: "a" })), "1001", "1000"],
    [`[{"task":"a","input":${"[".repeat(100_000)}${"]".repeat(100_000)}}]`, "nested"],
  ];
  for (const [calls, ...mentions] of refused) {
    test(`runs nothing and answers 400 that mentions ${mentions.join(", ")}`, async () => {
      const { app, caller } = front({ options: { maxBodyBytes: 1_000_000 } });
      const response = await parallel(app, calls);
      expect(response.status).toBe(400);
      const { detail } = await problemOf(response);
      for (const mention of mentions) expect(detail).toContain(mention);
      expect(caller.seen).toEqual([]);
    });
  }

  test("takes a thousand calls", async () => {
    const { app } = front({ options: { maxBodyBytes: 100_000 } });
    const response = await parallel(app, Array.from({ length: 1_000 }, () => ({ task: "a" })));
    expect(await response.json()).toHaveLength(1_000);
  });

  test("leaves out results that do not fit together", async () => {
    const { app, caller } = front();
    const large = JSON.stringify("x".repeat(30 * 2 ** 20));
    caller.script = () => ({ kind: "succeeded", resultJson: large, headers: {} });
    const response = await parallel(app, [{ task: "a" }, { task: "b" }, { task: "c" }]);
    const answers: { result?: string; error?: object }[] = await response.json();
    expect(answers.map(({ result }) => result?.length)).toEqual([
      30 * 2 ** 20,
      30 * 2 ** 20,
      undefined,
    ]);
    expect(answers[2]?.error).toMatchObject({ type: "/problems/results-too-large", task: "c" });
  });

  test("cancels all calls when the client goes away", async () => {
    const { app, caller } = front();
    const gone = new AbortController();
    const started = Promise.withResolvers<void>();
    caller.script = (call) => {
      if (caller.seen.length === 3) started.resolve();
      return call.task === "quick" ? succeeded(1) : untilCancelled(call);
    };
    const response = app.request("/parallel", {
      method: "POST",
      body: JSON.stringify([{ task: "a" }, { task: "quick" }, { task: "b" }]),
      signal: gone.signal,
    });
    await started.promise;
    gone.abort();
    expect(await (await response).json()).toMatchObject([
      { error: { type: "/problems/cancelled" } },
      { result: 1 },
      { error: { type: "/problems/cancelled" } },
    ]);
    expect(caller.pending).toBe(0);
  });
});
