import { describe, expect, test } from "bun:test";
import * as v from "valibot";
import { context, DefinitionError, Interruption, Reject, Retry, task } from "../../src/mod.ts";
import { registry, TaskRegistry } from "../../src/tasks/registry.ts";
import { runAttempt, RunningAttempt } from "../../src/tasks/running_attempt.ts";

describe("task()", () => {
  test("gives a function that runs here, with its name and types", () => {
    const add = task("definition.add", (a: number, b: number) => a + b);
    const sum: number = add(1, 2);
    expect(sum).toBe(3);
    expect(add.taskName).toBe("definition.add");
    expect(registry.get("definition.add")?.descriptor.queue).toBe("default");
  });

  test("types the argument by its schema", () => {
    const input = v.object({ width: v.pipe(v.string(), v.transform(Number)) });
    const scale = task("definition.scale", { queue: "images", input }, ({ width }) => width * 2);
    const doubled: number = scale({ width: 4 });
    expect(doubled).toBe(8);
  });

  test.each<[string, unknown[]]>([
    ["its last argument must be a function", ["definition.bad", {}]],
    ["its options must be an object", ["definition.bad", "options", () => 1]],
    ["input must be a Standard Schema", ["definition.bad", { input: {} }, () => 1]],
    ["its name must be a text", [5, () => 1]],
  ])("from JavaScript: %s", (why, args) => {
    expect(() => Reflect.apply(task, undefined, args)).toThrow(DefinitionError);
    expect(() => Reflect.apply(task, undefined, args)).toThrow(why);
  });

  test("two of one name are refused, naming both places", () => {
    task("definition.twice", () => 1);
    expect(() => task("definition.twice", () => 2)).toThrow(
      'Cannot define task "definition.twice" in this program: it is already defined in this program',
    );
  });

  test("after the files are loaded nothing can be defined", () => {
    const sealed = new TaskRegistry();
    sealed.seal();
    const descriptor = {
      name: "late",
      file: "/t.ts",
      queue: "default",
      timeoutMs: 1,
      isolation: "worker",
    } as const;
    expect(() => sealed.addTask({ descriptor, input: undefined, run: () => 1 })).toThrow(
      'Cannot define task "late" in /t.ts now: define it at the top of a task file',
    );
    expect(() => sealed.addSetup({ file: "/t.ts", run: () => 1, teardown: undefined })).toThrow(
      "Cannot define a set-up in /t.ts now",
    );
  });
});

describe("context", () => {
  test("outside a task every part says what is wrong", async () => {
    for (
      const property of [
        "settings",
        "headers",
        "request",
        "signal",
        "id",
        "attempt",
        "node",
      ] as const
    ) {
      expect(() => context[property]).toThrow(
        `Cannot use context.${property}: no task is running here`,
      );
    }
    expect(() => context.log.info("hello")).toThrow("Cannot use context.log");
    await expect(context.pubsub.publish("c", 1)).rejects.toThrow("Cannot use context.pubsub");
  });

  test("follows the task through timers and promises", async () => {
    const facts = { id: "i", task: "t", attempt: 2, redelivered: true, headers: { a: "b" } };
    const attempt = new RunningAttempt(facts, {
      node: "n",
      settings: {},
      log: () => {},
      ask: () => Promise.reject(new Error("nobody answers here")),
    }, () => {});
    const seen = await runAttempt(attempt, async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      return await Promise.resolve().then(() => [context.id, context.attempt, context.node]);
    });
    expect(seen).toEqual(["i", 2, "n"]);
  });

  test("the signal tells why, whether it was looked at before or after", () => {
    const services = {
      node: "n",
      settings: {},
      log: () => {},
      ask: () => Promise.reject(new Error("nobody answers here")),
    };
    const facts = { id: "i", task: "t", attempt: 1, redelivered: false, headers: {} };
    for (const lookBefore of [true, false]) {
      const attempt = new RunningAttempt(facts, services, () => {});
      const before = lookBefore ? attempt.signal : undefined;
      attempt.interrupt("soft_limit");
      attempt.interrupt("cancelled");
      expect(before?.aborted ?? true).toBe(true);
      const { reason } = attempt.signal;
      expect(reason).toBeInstanceOf(Interruption);
      expect(reason).toMatchObject({ name: "SoftTimeLimitExceeded", why: "soft_limit" });
    }
  });
});

describe("Retry and Reject", () => {
  test("Retry reads its pause", () => {
    expect(new Retry({ after: "5s" }).afterMs).toBe(5_000);
    expect(new Retry().afterMs).toBeUndefined();
    expect(new Retry({ message: "busy", cause: "x" })).toMatchObject({
      message: "busy",
      cause: "x",
      name: "Retry",
    });
  });

  test("Reject tells its reason", () => {
    expect(new Reject("no such order", { cause: "x" })).toMatchObject({
      message: "no such order",
      cause: "x",
      name: "Reject",
    });
  });
});
