import { describe, expect, test } from "bun:test";
import { TaskRegistry } from "../../src/tasks/registry.ts";
import { runSetups, runTeardowns } from "../../src/tasks/setups.ts";

function registryWith(
  ...setups: { run: () => unknown; teardown?: (settings: object) => unknown }[]
): TaskRegistry {
  const registry = new TaskRegistry();
  setups.forEach(({ run, teardown }, index) =>
    registry.addSetup({ file: `/${index}.ts`, run, teardown })
  );
  return registry;
}

describe("runSetups()", () => {
  test("puts what all make into one object, which was there before", async () => {
    const registry = registryWith(
      { run: () => ({ a: 1 }) },
      { run: () => Promise.resolve({ b: 2 }) },
      { run: () => undefined },
    );
    const { settings } = registry;
    await runSetups(registry);
    expect(settings).toEqual({ a: 1, b: 2 });
  });

  test.each<[string, () => unknown, string]>([
    ["throws", () => {
      throw new TypeError("no database");
    }, "The set-up in /0.ts failed: TypeError: no database"],
    [
      "rejects",
      () => Promise.reject(new Error("later")),
      "The set-up in /0.ts failed: Error: later",
    ],
    ["gives a number", () => 5, "it must return a plain object"],
    ["gives an instance", () => new Map(), "it must return a plain object"],
  ])("one that %s is told with its file", async (_what, run, why) => {
    await expect(runSetups(registryWith({ run }))).rejects.toThrow(why);
  });

  test("two that make one name are refused", async () => {
    const registry = registryWith({ run: () => ({ db: 1 }) }, { run: () => ({ db: 2 }) });
    await expect(runSetups(registry)).rejects.toThrow(
      "The set-up in /1.ts failed: another set-up has already made context.settings.db",
    );
  });
});

describe("runTeardowns()", () => {
  test("runs all in reverse, and tells which failed", async () => {
    const order: string[] = [];
    const registry = registryWith(
      { run: () => ({ a: 1 }), teardown: (settings) => void order.push(JSON.stringify(settings)) },
      {
        run: () => undefined,
        teardown: () => {
          order.push("second");
          throw new Error("stuck");
        },
      },
      { run: () => undefined, teardown: () => Promise.reject(new TypeError("third")) },
    );
    await runSetups(registry);
    expect(await runTeardowns(registry)).toEqual([
      "The teardown in /2.ts failed: TypeError: third",
      "The teardown in /1.ts failed: Error: stuck",
    ]);
    expect(order).toEqual(["second", '{"a":1}']);
  });
});
