/** The tasks that are compiled in, to try a node with before it has tasks of its own. */
import { setTimeout as pause } from "node:timers/promises";
import { context } from "./context.ts";
import { setup, task } from "./definition.ts";
import type { TaskOptions } from "./options.ts";
import { registry } from "./registry.ts";

/** What stands for a file in the demo tasks' descriptors. */
export const BUILT_IN = "built in";

const DEMO: TaskOptions = { queue: "demo", timeout: "30s" };

/** An error of its own class, so that callers see a type travel. */
class ValueError extends Error {
  override readonly name = "ValueError";
}

/**
 * Defines the demo tasks whose names are still free: a user's task of such a name takes its place.
 * Task files are loaded before.
 */
export function defineDemoTasks(): void {
  for (const [name, define] of Object.entries(DEMO_TASKS)) {
    if (registry.get(name) === undefined) define(name);
  }
}

const DEMO_TASKS: Readonly<Record<string, (name: string) => void>> = {
  /** Answers what it was given, and how it was run. */
  test: (name) =>
    task(name, DEMO, (...input: unknown[]) => {
      context.headers["x-node"] = context.node;
      return { input, id: context.id, node: context.node, attempt: context.attempt };
    }),

  /** Counts the calls of its isolate. */
  stat: (name) => {
    const settings = setup(() => ({ demoStat: { served: 0 } }));
    task(name, DEMO, () => {
      settings.demoStat.served += 1;
      return `I'm worker "${context.node}". And I serve ${settings.demoStat.served} tasks`;
    });
  },

  /** Publishes its argument on the channel "test". */
  publish: (name) =>
    task(name, DEMO, async (message: unknown = null) => {
      await context.pubsub.publish("test", message);
      return message;
    }),

  /** Never ends by itself. */
  dead: (name) =>
    task(name, { ...DEMO, timeout: "3s" }, () => {
      while (true) { /* Only the hard limit ends this. */ }
    }),

  "math.add": (name) =>
    task(name, DEMO, (a: number, b: number) => {
      if (typeof a !== "number" || typeof b !== "number") {
        throw new TypeError("math.add needs two numbers, such as [1, 2]");
      }
      return a + b;
    }),

  /** Waits for some seconds without keeping its isolate busy. */
  sleep: (name) =>
    task(name, { ...DEMO, timeout: "5m" }, async (seconds: number = 1) => {
      if (typeof seconds !== "number" || !(seconds >= 0 && seconds <= 86_400)) {
        throw new RangeError("sleep needs a number of seconds from 0 to 86400");
      }
      await pause(seconds * 1_000, undefined, { signal: context.signal });
      return seconds;
    }),

  /** One argument comes back as it is, several as an array. */
  echo: (name) => task(name, DEMO, (...input: unknown[]) => input.length > 1 ? input : input[0]),

  fail: (name) =>
    task(name, DEMO, (message: unknown = "The task fail does what it says") => {
      throw new ValueError(typeof message === "string" ? message : JSON.stringify(message));
    }),
};
