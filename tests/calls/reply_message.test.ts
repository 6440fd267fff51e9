import { describe, expect, test } from "bun:test";
import type { Ending } from "../../src/calls/outcome.ts";
import {
  decodeReply,
  encodeReply,
  encodeStarted,
  type Reply,
} from "../../src/calls/wire/reply_message.ts";
import { encodeRevocation } from "../../src/calls/wire/control_message.ts";
import { decodeCommand } from "../../src/celery/control/command.ts";
import { captured } from "../support/celery_fixtures.ts";
import { deliveryOf } from "../support/deliveries.ts";

const ADDRESS = { id: "i", replyTo: "r", correlationId: "c", mayCompress: true, node: "w1" };
const LIMIT = 1_000_000;

const REPLIES: readonly Reply[] = [
  { kind: "succeeded", resultJson: '{"a":[1,null,"é"]}', headers: {} },
  { kind: "succeeded", resultJson: "3", headers: { "x-width": "7" } },
  { kind: "failed", error: { type: "ValueError", message: "boom" }, headers: {} },
  {
    kind: "failed",
    error: {
      type: "InvalidInput",
      message: "bad",
      stack: "at here",
      issues: [{ message: "too small", path: ["width", "0"] }],
    },
    headers: { "x-a": "b" },
  },
  { kind: "timed_out", limitMs: 1_500 },
  { kind: "expired" },
  { kind: "cancelled" },
  { kind: "worker_lost", message: "3 processes" },
  { kind: "refused", message: "not JSON" },
];

describe("a reply", () => {
  test.each(REPLIES.map((reply) => [reply.kind, reply] as const))(
    "%s comes back as it was sent",
    async (_, reply) => {
      const message = await encodeReply(ADDRESS, reply);
      expect(message).toMatchObject({ exchange: "", routingKey: "r" });
      expect(message.properties.correlationId).toBe("c");
      const back = await decodeReply(deliveryOf(message), LIMIT);
      expect(back).toEqual({ kind: "ending", ending: reply });
    },
  );

  test("over 32 KiB is compressed where the asker reads it, and only there", async () => {
    const reply: Reply = {
      kind: "succeeded",
      resultJson: JSON.stringify("z".repeat(50_000)),
      headers: {},
    };
    const compressed = await encodeReply(ADDRESS, reply);
    expect(compressed.body.length).toBeLessThan(1_000);
    expect(await decodeReply(deliveryOf(compressed), LIMIT)).toEqual({
      kind: "ending",
      ending: reply,
    });
    expect(await decodeReply(deliveryOf(compressed), 1_000)).toMatchObject({
      ending: { kind: "unreadable_reply", message: expect.stringContaining("larger than 1000") },
    });
    const plain = await encodeReply({ ...ADDRESS, mayCompress: false }, reply);
    expect(plain.body.length).toBeGreaterThan(50_000);
  });

  test("that tells of a start ends nothing", async () => {
    expect(await decodeReply(deliveryOf(encodeStarted(ADDRESS)), LIMIT)).toEqual({
      kind: "started",
      node: "w1",
    });
  });

  test.each(["", "nonsense", "[]", "{}", '{"status":7}', "\xff"])(
    "%j is unreadable, with the reason",
    async (body) => {
      const message = {
        exchange: "",
        routingKey: "r",
        properties: {},
        body: Buffer.from(body, "latin1"),
      };
      expect(await decodeReply(deliveryOf(message), LIMIT)).toMatchObject({
        kind: "ending",
        ending: { kind: "unreadable_reply", message: expect.stringContaining("cannot be read") },
      });
    },
  );
});

describe("decodeReply() on captured Celery results", () => {
  const expected: Record<string, Ending["kind"] | "started" | "other"> = {
    task_failure_builtin: "failed",
    task_failure_custom: "failed",
    task_expires_past: "expired",
    task_hard_time_limit_hit: "timed_out",
    task_soft_time_limit_hit: "timed_out",
    task_unknown: "not_registered",
    revoke_before_start: "cancelled",
    revoke_terminate: "cancelled",
    revoke_terminate_sigkill: "cancelled",
    canvas_chain_error: "failed",
  };
  const rows = captured("result");

  test.each(rows.map((row, index) => [row.scenario, index, row] as const))(
    "reads %s (%d)",
    async (scenario, _, { delivery }) => {
      const text = new TextDecoder().decode(delivery.message.body);
      const [, status] = /"status": "([A-Z]+)"/.exec(text) ?? [];
      const reply = await decodeReply(delivery, LIMIT);
      const kind = reply.kind === "ending" ? reply.ending.kind : reply.kind;
      // Python's JSON has bare Infinity and NaN, which no other reader takes.
      if (/\bInfinity\b/.test(text)) expect(kind).toBe("unreadable_reply");
      else if (status === "SUCCESS") expect(kind).toBe("succeeded");
      else if (status === "STARTED") expect(kind).toBe("started");
      else if (status === "RETRY") expect(kind).toBe("retrying");
      else if (status === "PROGRESS") expect(kind).toBe("progress");
      else expect(kind).toBe(expected[scenario] ?? "failed");
    },
  );

  test("reads the limit and the error", async () => {
    const of = (scenario: string) => rows.find((row) => row.scenario === scenario)!.delivery;
    expect(await decodeReply(of("task_hard_time_limit_hit"), LIMIT)).toMatchObject({
      ending: { limitMs: 1_000 },
    });
    expect(await decodeReply(of("task_failure_builtin"), LIMIT)).toMatchObject({
      ending: { error: { type: "ValueError", message: "boom" } },
    });
  });
});

describe("decodeReply() on what a Celery worker writes", () => {
  const read = (body: object, properties: object = {}) =>
    decodeReply(
      deliveryOf({
        exchange: "",
        routingKey: "r",
        properties: { contentType: "application/json", ...properties },
        body: new TextEncoder().encode(JSON.stringify({ task_id: "i", traceback: null, ...body })),
      }),
      LIMIT,
    );
  const failure = (exc_type: string, exc_message: unknown, status = "FAILURE") =>
    read({ status, result: { exc_type, exc_message, exc_module: "m" } });

  test.each([
    [["a", 1], "a, 1"],
    ["text", "text"],
    [[], ""],
    [{ code: 7 }, '{"code":7}'],
    [null, ""],
  ])("reads the message %j of an exception", (given, message) => {
    expect(failure("Odd", given)).toEqual({
      kind: "ending",
      ending: { kind: "failed", error: { type: "Odd", message }, headers: {} },
    });
  });

  test.each(
    [
      ["TimeLimitExceeded", [2], "FAILURE", { kind: "timed_out", limitMs: 2_000 }],
      ["SoftTimeLimitExceeded", [], "FAILURE", { kind: "timed_out", limitMs: 0 }],
      ["NotRegistered", ["tasks.no"], "FAILURE", { kind: "not_registered", task: "tasks.no" }],
      ["WorkerLostError", ["died"], "FAILURE", { kind: "worker_lost", message: "died" }],
      ["TaskRevokedError", ["terminated"], "REVOKED", { kind: "cancelled" }],
      ["TaskRevokedError", ["expired"], "REVOKED", { kind: "expired" }],
    ] as const,
  )("reads %s %j", (type, message, status, ending) => {
    expect(failure(type, message, status)).toEqual({ kind: "ending", ending });
  });

  test("reads what ends nothing", () => {
    expect(failure("Busy", ["later"], "RETRY")).toEqual({
      kind: "retrying",
      error: { type: "Busy", message: "later" },
    });
    expect(read({ status: "STARTED", result: { pid: 1, hostname: "w@h" } })).toEqual({
      kind: "started",
      node: "w@h",
    });
    const meta = { current: 1 };
    expect(read({ status: "PROGRESS", result: meta })).toEqual({
      kind: "progress",
      state: "PROGRESS",
      meta,
    });
    expect(read({ status: "PENDING", result: null })).toEqual({ kind: "other" });
  });

  test.each(["IGNORED", "REJECTED"])("reads that no result will come: %s", (status) => {
    expect(read({ status, result: null })).toMatchObject({ ending: { kind: "failed" } });
  });

  test("unwraps kombu's instants, and nothing else", () => {
    const at = { __type__: "datetime", __value__: "2026-11-21T02:03:04" };
    const other = { __type__: "mine", __value__: 1 };
    expect(read({ status: "SUCCESS", result: { at, other, odd: { ...at, more: 1 } } })).toEqual({
      kind: "ending",
      ending: {
        kind: "succeeded",
        resultJson: JSON.stringify({ at: at.__value__, other, odd: { ...at, more: 1 } }),
        headers: {},
      },
    });
  });

  test("names a serializer that it does not read", () => {
    const pickled = { contentType: "application/x-python-serialize" };
    expect(read({ status: "SUCCESS" }, pickled)).toMatchObject({
      ending: { kind: "unreadable_reply", message: expect.stringContaining("result_serializer") },
    });
  });
});

test("revocations are what a Celery client sends", () => {
  expect(decodeCommand(deliveryOf(encodeRevocation({ ids: ["a"], terminate: true })))).toEqual({
    kind: "command",
    command: {
      method: "revoke",
      args: { task_id: ["a"], terminate: true, signal: "SIGTERM" },
      destination: [],
      clock: 0,
    },
  });
});
