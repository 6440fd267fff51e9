/** Commands of Celery's remote control: what is read, whom they are for, how they are answered. */
import { describe, expect, test } from "bun:test";
import { decodeCommand, encodeAnswer, isFor, isOver } from "../../src/celery/control/command.ts";
import { matchesName, NamePatternError } from "../../src/celery/control/name_pattern.ts";
import { LogicalClock } from "../../src/celery/logical_clock.ts";
import scenarios from "../fixtures/celery/control_scenarios.json" with { type: "json" };
import { deliveryOf } from "../support/deliveries.ts";

const ROUTING_KEY = "a-key";

function deliver(body: unknown, properties: Record<string, unknown> = {}) {
  const bytes = typeof body === "string"
    ? new TextEncoder().encode(body)
    : body instanceof Uint8Array
    ? body
    : new TextEncoder().encode(JSON.stringify(body));
  return deliveryOf({
    exchange: "celery.pidbox",
    routingKey: "",
    body: bytes,
    properties: { contentType: "application/json", ...properties },
  });
}

function read(body: unknown, headers: Record<string, number> = {}) {
  const decoded = decodeCommand(deliver(body, { headers }));
  if (decoded.kind !== "command") throw new Error(decoded.reason);
  return decoded.command;
}

describe("decodeCommand()", () => {
  test.each(scenarios.map((row) => [row.scenario, row] as const))(
    "reads what Celery sent: %s",
    (_, { command: sent, headers }) => {
      const command = read(sent, headers);
      expect<unknown>(command.method).toBe(sent.method);
      expect<unknown>(command.args).toEqual(sent.arguments);
      expect<unknown>(command.destination).toEqual(sent.destination ?? []);
      expect<unknown>(command.reply).toEqual({
        routingKey: sent.reply_to.routing_key,
        ticket: sent.ticket,
      });
      expect(command.expiresAt).toBe(headers.expires * 1_000);
      expect(command.clock).toBe(headers.clock);
    },
  );

  test.each([
    ["{garbage", /not JSON/],
    [new Uint8Array([0xff, 0xfe]), /not JSON/],
    [[], /not an object/],
    ["7", /not an object/],
    [{}, /no method/],
    [{ method: 7 }, /no method/],
    [{ method: "ping", arguments: [] }, /arguments are not an object/],
    [{ method: "ping", destination: "all" }, /destination is not an array/],
    [{ method: "ping", reply_to: { exchange: "other", routing_key: "x" } }, /reply\.celery/],
    [{ method: "ping", reply_to: { exchange: "reply.celery.pidbox" } }, /reply\.celery/],
    [{
      method: "ping",
      reply_to: { exchange: "reply.celery.pidbox", routing_key: "x".repeat(256) },
    }, /reply\.celery/],
    [new Uint8Array(9 * 2 ** 20), /bytes/],
  ])("tells what is no command: %p", (body, reason) => {
    const decoded = decodeCommand(deliver(body));
    expect(decoded).toEqual({ kind: "malformed", reason: expect.stringMatching(reason) });
  });

  test("tells a pickle, and what the adapter could not read", () => {
    const pickle = decodeCommand(
      deliver({ method: "ping" }, { contentType: "application/x-python" }),
    );
    expect(pickle.kind).toBe("malformed");
    const unreadable = { ...deliver({ method: "ping" }), unreadable: "a bad header" };
    expect(decodeCommand(unreadable)).toEqual({ kind: "malformed", reason: "a bad header" });
  });

  test("takes nulls for not said, and 0 for never expiring", () => {
    const command = read({ method: "ping", arguments: null, reply_to: null }, { expires: 0 });
    expect(command).toEqual({ method: "ping", args: {}, destination: [], clock: undefined });
  });
});

describe("whom a command is for", () => {
  const ours = "coxswain@n1";
  const isOurs = (body: Record<string, unknown>) =>
    isFor(read({ method: "ping", ...body }), ours, ["n1"]);

  test("all, those that it names, or those whose name fits", () => {
    expect(isOurs({})).toBe(true);
    expect(isOurs({ destination: [] })).toBe(true);
    expect(isOurs({ destination: [ours, "other@h"] })).toBe(true);
    expect(isOurs({ destination: ["n1"] })).toBe(true);
    expect(isOurs({ destination: ["other@h", 7] })).toBe(false);
    expect(isOurs({ pattern: "cox*", matcher: "glob" })).toBe(true);
    expect(isOurs({ pattern: "n*", matcher: "glob" })).toBe(false);
    expect(isOurs({ pattern: "w*", matcher: null })).toBe(true);
    expect(isOurs({ destination: [ours], pattern: "z*", matcher: "glob" })).toBe(true);
  });

  test.each([
    ["*", true],
    ["coxswain@n[0-9]", true],
    ["coxswain@n[!0-9]", false],
    ["coxswain@n[]1]", true],
    ["c*s*@?1", true],
    ["*@*@*", false],
    ["coxswain", false],
    ["coxswain@n1*", true],
    ["coxswain@n1?", false],
    ["coxswain@n.", false],
    ["", false],
  ])("glob %p: %p", (text, fits) => {
    expect(matchesName(ours, { text, matcher: "glob" })).toBe(fits);
  });

  test.each([["^cox", true], ["cox", true], ["n1", false], [".*n1$", true], ["^z", false]])(
    "pcre %p: %p",
    (text, fits) => {
      expect(matchesName(ours, { text, matcher: "pcre" })).toBe(fits);
    },
  );

  test.each([
    ["(a+)+$", "pcre"],
    ["(.*)*x", "pcre"],
    ["[", "pcre"],
    [".*.*.*.*x", "pcre"],
    ["(a)\\1", "pcre"],
    ["x".repeat(256), "glob"],
    ["x", "odd"],
  ])("refuses %p for %s", (text, matcher) => {
    expect(() => matchesName(ours, { text, matcher })).toThrow(NamePatternError);
  });

  test("a glob of many stars takes no time", () => {
    const before = performance.now();
    matchesName("a".repeat(120), { text: "*a".repeat(120) + "b", matcher: "glob" });
    expect(performance.now() - before).toBeLessThan(200);
  });
});

test("isOver() leaves room for clocks that differ", () => {
  const command = read({ method: "ping" }, { expires: 100 });
  expect(isOver(command, 101_000)).toBe(false);
  expect(isOver(command, 103_000)).toBe(true);
  expect(isOver(read({ method: "ping" }), 103_000)).toBe(false);
});

test("encodeAnswer() writes what Celery's worker does", () => {
  const message = encodeAnswer({ routingKey: ROUTING_KEY, ticket: "t" }, {
    name: "coxswain@n1",
    valueJson: '{"ok":"pong"}',
    clock: 7,
  });
  expect(JSON.parse(new TextDecoder().decode(message.body))).toEqual({
    "coxswain@n1": { ok: "pong" },
  });
  expect(message).toMatchObject({
    exchange: "reply.celery.pidbox",
    routingKey: ROUTING_KEY,
    properties: { contentType: "application/json", headers: { ticket: "t", clock: 7 } },
  });
});

test("the logical clock goes past what it hears, and believes no nonsense", () => {
  const clock = new LogicalClock();
  expect(clock.forward()).toBe(1);
  clock.adjust(10);
  expect(clock.value).toBe(11);
  clock.adjust(3);
  expect(clock.value).toBe(12);
  for (const odd of [-1, 1.5, 2 ** 31, Infinity, NaN, "7", null, undefined]) clock.adjust(odd);
  expect(clock.value).toBe(12);
  clock.adjust(2 ** 31 - 2);
  clock.forward();
  expect(clock.forward()).toBe(2 ** 31 - 1);
});
