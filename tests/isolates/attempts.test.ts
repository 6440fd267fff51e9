/** What a task's code does with one attempt, in both kinds of isolate. */
import { describe, expect, test } from "bun:test";
import { BrokerAwayError } from "../../src/broker/errors.ts";
import type { AttemptEnd } from "../../src/isolates/attempt.ts";
import { createPool, type TaskLogLine } from "../../src/isolates/pool.ts";
import type { Progress } from "../../src/tasks/progress.ts";
import { makeFolder } from "../support/folders.ts";
import { order, request, withPool } from "../support/pools.ts";

function resultOf(end: AttemptEnd): unknown {
  expect(end).toMatchObject({ kind: "returned" });
  return end.kind === "returned" ? JSON.parse(end.resultJson) : undefined;
}

describe.each(["worker", "process"] as const)("an attempt in a %s", (isolation) => {
  test("returns JSON, and null for nothing", async () => {
    await withPool({}, async (pool) => {
      const value = { a: [1, "ü😀\n\u0000", null, true] };
      expect(resultOf(await pool.run(order({ return: value }, { isolation })))).toEqual(value);
      expect(resultOf(await pool.run(order({ returnNothing: true }, { isolation })))).toBeNull();
    });
  });

  test("throws: type, message, stack and causes are told", async () => {
    await withPool({}, async (pool) => {
      expect(await pool.run(order({ throw: "no good", type: "OddError" }, { isolation })))
        .toMatchObject({
          kind: "threw",
          error: { type: "OddError", message: "no good", stack: expect.stringContaining("obey") },
        });
      expect(await pool.run(order({ throwWithCause: "outer" }, { isolation }))).toMatchObject({
        error: { stack: expect.stringContaining("Caused by: TypeError: the cause behind it") },
      });
      expect(await pool.run(order({ throwValue: "a text" }, { isolation }))).toMatchObject({
        kind: "threw",
        error: { type: "Error", message: "a text" },
      });
    });
  });

  test("throws a huge message: it is bounded", async () => {
    await withPool({}, async (pool) => {
      const end = await pool.run(order({ throwHuge: 5_000_000 }, { isolation }));
      expect(end.kind === "threw" && end.error.message.length).toBeLessThan(9_000);
    });
  });

  test("asks for another attempt, or rejects", async () => {
    await withPool({}, async (pool) => {
      expect(await pool.run(order({ retry: "1500ms" }, { isolation }))).toMatchObject({
        kind: "threw",
        retry: { afterMs: 1_500 },
      });
      const plain = await pool.run(order({ retry: null }, { isolation }));
      expect(plain).toMatchObject({ kind: "threw", retry: {} });
      expect(plain).not.toHaveProperty("rejected");
      expect(await pool.run(order({ reject: "never" }, { isolation }))).toMatchObject({
        kind: "threw",
        rejected: true,
        error: { type: "Reject", message: "never" },
      });
    });
  });

  test("returns what JSON cannot carry: fails, naming the task", async () => {
    await withPool({}, async (pool) => {
      for (const told of ["returnBigInt", "returnCycle", "returnFunction"] as const) {
        const bad = { returnBigInt: true, returnCycle: true, returnFunction: true } as const;
        const end = await pool.run(
          order({ [told]: bad[told] } as { returnBigInt: true }, { isolation }),
        );
        expect(end).toMatchObject({
          kind: "threw",
          error: {
            type: "ResultError",
            message: expect.stringMatching(/^Cannot send the result of task "obedient/),
          },
        });
      }
    });
  });

  test("headers travel both ways, fresh for each attempt", async () => {
    await withPool({}, async (pool) => {
      const end = await pool.run(
        order({ headers: { "X-Width": "10", "x-n": 5 } }, { isolation, headers: { "x-in": "a" } }),
      );
      expect(end).toMatchObject({ kind: "returned", headers: { "x-width": "10", "x-n": "5" } });
      expect(resultOf(end)).toEqual({ "x-in": "a" });
      expect(await pool.run(order({ return: 1 }, { isolation }))).toMatchObject({ headers: {} });
    });
  });

  test("a header with a line break fails the attempt", async () => {
    await withPool({}, async (pool) => {
      expect(await pool.run(order({ headers: { "x-a": "b\r\nset-cookie: c" } }, { isolation })))
        .toMatchObject({
          kind: "threw",
          error: { type: "ResultError", message: expect.stringContaining('header "x-a"') },
        });
    });
  });

  test("10 MiB go in and out", async () => {
    await withPool({}, async (pool) => {
      const text = 'ä\n"'.repeat(3_500_000);
      const end = await pool.run(order({ return: text }, { isolation }));
      expect(resultOf(end) === text).toBe(true);
    });
  });

  test("context tells of the attempt", async () => {
    await withPool({}, async (pool) => {
      const asked = order({ facts: true }, { isolation, attempt: 3, redelivered: true });
      expect(resultOf(await pool.run(asked))).toEqual({
        id: asked.id,
        task: asked.task,
        attempt: 3,
        redelivered: true,
        node: "test-node",
      });
    });
  });

  test("settings last as long as the isolate", async () => {
    await withPool({}, async (pool) => {
      for (const expected of [1, 2, 3]) {
        expect(resultOf(await pool.run(order({ count: true }, { isolation })))).toBe(expected);
      }
    });
  });

  test("logs reach the main thread with task and id", async () => {
    const lines: TaskLogLine[] = [];
    await withPool({ onLog: (line) => lines.push(line) }, async (pool) => {
      const asked = order({ log: "line {line}", times: 2 }, { isolation });
      await pool.run(asked);
      expect(lines).toEqual([0, 1].map((line) => ({
        level: "info",
        message: "line {line}",
        fields: { line },
        task: asked.task,
        id: asked.id,
        isolate: expect.any(Number),
      })));
    });
  });

  test("a flood of logs is bounded, and told", async () => {
    const lines: TaskLogLine[] = [];
    await withPool({ onLog: (line) => lines.push(line) }, async (pool) => {
      await pool.run(order({ log: "flood", times: 50_000 }, { isolation }));
      expect(lines.length).toBeLessThan(5_000);
      await pool.run(order({ sleep: 10 }, { isolation }));
      await pool.run(order({ log: "after" }, { isolation }));
      expect(lines.some(({ level, message }) => level === "warn" && message.includes("left out")))
        .toBe(true);
    });
  });

  test("publishing resolves when the main thread's publish did, and fails as it failed", async () => {
    const published: [string, string, string | undefined][] = [];
    await withPool({
      asks: {
        "pubsub.publish": ({ channel }, json, origin) => {
          published.push([channel, json, origin?.task]);
          return channel === "bad"
            ? Promise.reject(new BrokerAwayError("broker away"))
            : Promise.resolve(null);
        },
      },
    }, async (pool) => {
      expect(await pool.run(order({ publish: { a: "\n" }, channel: "good" }, { isolation })))
        .toMatchObject({ kind: "returned" });
      expect(await pool.run(order({ publish: 1, channel: "bad" }, { isolation }))).toMatchObject({
        kind: "threw",
        error: { type: "BrokerAwayError", message: "broker away" },
      });
      const taskOf = isolation === "process" ? "obedient.process" : "obedient";
      expect(published).toEqual([["good", '{"a":"\\n"}', taskOf], ["bad", "1", taskOf]]);
      expect(await pool.run(order({ publish: 1, channel: "" }, { isolation }))).toMatchObject({
        kind: "threw",
        error: { message: expect.stringContaining("name must be a text") },
      });
    });
  });

  test("enqueues a job through the main thread, and gets its id", async () => {
    const asked: unknown[] = [];
    await withPool({
      asks: {
        "jobs.enqueue": (request, json) => {
          asked.push(request, json);
          return Promise.resolve({ id: "the-id" });
        },
      },
    }, async (pool) => {
      const options = { delay: "5s", retries: 2 } as const;
      const end = await pool.run(order({ enqueue: "t", input: [1], options }, { isolation }));
      expect(resultOf(end)).toBe("the-id");
      expect(asked).toEqual([{ task: "t", options }, "[1]"]);
    });
  });

  test("tells its progress, the first and the last always, four a second at most", async () => {
    await withPool({}, async (pool) => {
      const told: Progress[] = [];
      const onProgress = (progress: Progress) => void told.push(progress);
      const startedAt = performance.now();
      await pool.run(order({ progress: 100, everyMs: 6 }, { isolation }), { onProgress });
      const tookMs = performance.now() - startedAt;
      expect(told[0]).toEqual({ fraction: 0.01, message: "step 1" });
      expect(told.at(-1)).toEqual({ fraction: 1, message: "step 100" });
      expect(told.length).toBeGreaterThanOrEqual(3);
      expect(told.length).toBeLessThanOrEqual(3 + tookMs / 250);
    });
  });

  test("lowers its priority", async () => {
    await withPool({}, async (pool) => {
      const end = await pool.run(order({ whereAmI: true }, { isolation }));
      expect(resultOf(end)).toMatchObject({ nice: 10 });
    });
  });
});

describe("an attempt", () => {
  test("of a task that is not there", async () => {
    await withPool({}, async (pool) => {
      expect(await pool.run(request("nobody", []))).toEqual({ kind: "unknown_task" });
      expect(await pool.run(request("constructor", []))).toEqual({ kind: "unknown_task" });
    });
  });

  test("with a body that is not Celery's", async () => {
    await withPool({}, async (pool) => {
      for (const body of ["", "nonsense", "{}", "[1,2,3]"]) {
        expect(await pool.run(request("obedient", [], { body }))).toMatchObject({
          kind: "malformed",
        });
      }
      expect(await pool.run(order({ return: 1 }))).toMatchObject({ kind: "returned" });
    });
  });

  test("whose node has nobody to publish for it fails", async () => {
    await withPool({}, async (pool) => {
      expect(await pool.run(order({ publish: 1 }))).toMatchObject({
        kind: "threw",
        error: { message: "Cannot ask for pubsub.publish: this node has nobody who knows" },
      });
    });
  });

  test("whose input the schema refuses: InvalidInput with its issues, rejected", async () => {
    await using folder = await makeFolder({
      "t.ts": `import { task } from "coxswain";
        const schema = { "~standard": { version: 1, vendor: "test", validate: (value) =>
          typeof value === "number" ? { value: value * 2 }
            : { issues: [{ message: "a number is needed", path: ["items", { key: 0 }] }] } } };
        export const t = task("doubled", { input: schema }, (value) => value);`,
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      expect(await pool.run(request("doubled", [4]))).toMatchObject({ resultJson: "8" });
      expect(await pool.run(request("doubled", ["x"]))).toEqual({
        kind: "threw",
        rejected: true,
        headers: {},
        error: {
          type: "InvalidInput",
          message: 'The input of task "doubled" is invalid at items.0: a number is needed',
          issues: [{ message: "a number is needed", path: ["items", "0"] }],
        },
      });
    });
  });

  test("keyword arguments are one object behind the positional ones", async () => {
    await using folder = await makeFolder({
      "t.ts": `import { task } from "coxswain";
        export const t = task("all", (...args) => args);`,
    });
    await withPool({ taskPaths: [folder.path] }, async (pool) => {
      const body = JSON.stringify([[1], { a: 2 }, {}]);
      expect(await pool.run(request("all", [], { body }))).toMatchObject({
        resultJson: '[1,{"a":2}]',
      });
    });
  });
});

describe("createPool()", () => {
  test.each([["isolates", 0], ["slots", 1.5], ["spares", -1], ["maxTasksPerIsolate", 0]])(
    "refuses %s: %p",
    (name, value) => {
      const options = {
        entryUrl: new URL("file:///nowhere"),
        selfCommand: ["nowhere"],
        taskPaths: [],
        isolates: 1,
        nodeId: "n",
      } as const;
      expect(() => createPool({ ...options, [name]: value })).toThrow(
        `Cannot make a pool: ${name} must be a whole number from`,
      );
    },
  );
});
