import { expect, test } from "bun:test";
import { decodeAnnouncement, encodeAnnouncement } from "../../src/nodes/announcement.ts";
import { Directory } from "../../src/nodes/directory.ts";
import type { TaskDescriptor } from "../../src/tasks/descriptor.ts";

const on = (queue: string, name = "t"): TaskDescriptor => ({
  name,
  queue,
  file: "t.ts",
  timeoutMs: 1_000,
  isolation: "worker",
});

test("directory follows a task that moves to another queue", () => {
  const directory = new Directory();
  directory.announced("a", [on("old")]);
  directory.announced("a", [on("new")]);
  expect(directory.find("t")).toEqual({ ...on("new"), nodes: ["a"] });
});

test("directory routes by a worker that is still there when another one leaves", () => {
  const directory = new Directory();
  directory.announced("a", [on("one")]);
  directory.announced("b", [on("two")]);
  expect(directory.descriptor("t")?.queue).toBe("two");
  directory.left("b");
  expect(directory.find("t")).toEqual({ ...on("one"), nodes: ["a"] });
});

test("directory remembers the tasks of workers that have left", () => {
  const directory = new Directory();
  directory.announced("a", [on("q")]);
  directory.left("a");
  directory.left("a");
  expect(directory.find("t")).toEqual({ ...on("q"), nodes: [] });
  expect(directory.find("other")).toBeUndefined();
});

test("directory forgets a task that its worker lives on without, unless somebody else has it", () => {
  const directory = new Directory();
  directory.announced("a", [on("q"), on("q", "gone")]);
  directory.announced("b", [on("q")]);
  directory.announced("a", [on("q", "other")]);
  expect(directory.find("gone")).toBeUndefined();
  expect(directory.find("t")?.nodes).toEqual(["b"]);
  directory.left("b");
  expect(directory.find("t")?.nodes).toEqual([]);
});

test("directory tells whether another node serves a task on a queue", () => {
  const directory = new Directory();
  directory.announced("a", [on("q")]);
  expect(directory.isServedElsewhere("t", "q", "b")).toBe(true);
  expect(directory.isServedElsewhere("t", "q", "a")).toBe(false);
  expect(directory.isServedElsewhere("t", "elsewhere", "b")).toBe(false);
});

test("announcements come back as they were sent, and garbage means nothing", () => {
  const serving = { type: "serving", node: "a", tasks: [on("q")] } as const;
  expect(decodeAnnouncement(encodeAnnouncement({ ...serving, tasks: [on("q")] }))).toEqual({
    ...serving,
    tasks: [on("q")],
  });
  for (const text of ["", "null", "{}", '{"type":"serving","node":7,"tasks":[]}', "\x80"]) {
    expect(decodeAnnouncement(new TextEncoder().encode(text))).toBeUndefined();
  }
});
