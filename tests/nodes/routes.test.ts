/** Where requests go: patterns of routes, and what goes before what. */
import { describe, expect, test } from "bun:test";
import { destinationOf, NO_ROUTES, taskRoutes } from "../../src/nodes/routes.ts";
import type { TaskDescriptor } from "../../src/tasks/descriptor.ts";

const OURS: TaskDescriptor = {
  name: "reports.daily",
  file: "tasks.ts",
  queue: "ours",
  timeoutMs: 1_000,
  isolation: "worker",
};

describe("taskRoutes().queueOf()", () => {
  const routes = taskRoutes([
    { pattern: "reports.daily", queue: "exact" },
    { pattern: "reports.*", queue: "star" },
    { pattern: "a?c", queue: "one" },
    { pattern: "x[1]+.**y", queue: "special" },
  ]);

  test.each([
    ["reports.daily", "exact"],
    ["reports.daily.late", "star"],
    ["reports.", "star"],
    ["reports", undefined],
    ["my.reports.daily", undefined],
    ["abc", "one"],
    ["ac", undefined],
    ["x[1]+.deep.y", "special"],
    ["x11.y", undefined],
  ])("%s → %s, by the first that fits", (task, queue) => {
    expect(routes.queueOf(task)).toBe(queue);
  });

  test("reads a long name against many stars in no time", () => {
    const many = taskRoutes([{ pattern: `${"a*".repeat(8)}b`, queue: "q" }]);
    const before = performance.now();
    expect(many.queueOf("a".repeat(60))).toBeUndefined();
    expect(performance.now() - before).toBeLessThan(20_000);
  });
});

describe("destinationOf()", () => {
  const routes = taskRoutes([{ pattern: "reports.*", queue: "celery" }]);

  test("the request's queue goes before a route, a route before what is announced", () => {
    const of = (queue: string | undefined, descriptor: TaskDescriptor | undefined, routed = true) =>
      destinationOf("reports.daily", queue, descriptor, routed ? routes : NO_ROUTES);
    expect(of("asked", OURS)).toEqual({ queue: "asked", descriptor: OURS, isOurs: false });
    expect(of(undefined, OURS)).toEqual({ queue: "celery", descriptor: OURS, isOurs: false });
    expect(of(undefined, OURS, false)).toEqual({ queue: "ours", descriptor: OURS, isOurs: true });
    expect(of("ours", OURS)?.isOurs).toBe(true);
    expect(of(undefined, undefined)).toMatchObject({ queue: "celery", isOurs: false });
    expect(of(undefined, undefined, false)).toBeUndefined();
  });
});
