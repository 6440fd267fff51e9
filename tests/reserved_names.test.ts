import { describe, expect, test } from "bun:test";
import {
  problemOfExchange,
  problemOfKey,
  problemOfName,
  problemOfQueue,
} from "../src/reserved_names.ts";

const BAD_NAMES: readonly (readonly [unknown, RegExp])[] = [
  ["", /must not be empty/],
  [" \t", /must not be empty/],
  [undefined, /must be a text, got undefined/],
  [7, /must be a text, got number/],
  ["a\nb", /control characters/],
  ["\ud800", /well-formed/],
  ["é".repeat(128), /at most 255 bytes, got 256/],
];

describe("problemOfName()", () => {
  for (const [name, problem] of BAD_NAMES) {
    test(`refuses ${JSON.stringify(name)?.slice(0, 30)} everywhere`, () => {
      expect(problemOfName(name)).toMatch(problem);
      expect(problemOfExchange(name)).toMatch(problem);
      expect(problemOfQueue(name)).toMatch(problem);
    });
  }

  test("takes what AMQP takes", () => {
    for (const name of ["a", "Orders", "a b", "größe", "x".repeat(255), "coxswain", "amqp"]) {
      expect(problemOfName(name)).toBeUndefined();
      expect(problemOfExchange(name)).toBeUndefined();
      expect(problemOfQueue(name)).toBeUndefined();
    }
  });
});

test("problemOfExchange() refuses the names of the program, of brokers and of Celery", () => {
  const names = "cox.nodes cox.x cox. amq.topic amq. reply.x reply.celery.pidbox celery celeryev " +
    "celery.pidbox celeryevents";
  for (const name of names.split(" ")) expect(problemOfExchange(name)).toMatch(/is reserved/);
});

test("problemOfQueue() refuses the same, but for Celery's default queue", () => {
  const names = "cox.dead-letters cox.paused.x amq.gen-1 reply.x celeryev celeryev.1 " +
    "celery.pidbox w1@host.celery.pidbox";
  for (const name of names.split(" ")) expect(problemOfQueue(name)).toMatch(/is reserved/);
  expect(problemOfQueue("celery")).toBeUndefined();
});

test("problemOfKey() lets a key be empty", () => {
  expect(problemOfKey("")).toBeUndefined();
  expect(problemOfKey("a.*.#")).toBeUndefined();
  expect(problemOfKey("x".repeat(256))).toMatch(/255 bytes/);
});
