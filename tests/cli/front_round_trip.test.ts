/** What a front tells over HTTP, an operator's command understands: each ending there and back. */
import { afterAll, describe, expect, test } from "bun:test";
import { parseInput } from "../../src/calls/input.ts";
import type { CallInput, CallOptions } from "../../src/calls/call.ts";
import type { Ending } from "../../src/calls/outcome.ts";
import { FrontClient } from "../../src/cli/front_client.ts";
import { createApp } from "../../src/http/app.ts";

let ending: Ending = { kind: "expired" };
let sent: { task: string; input: CallInput; options: CallOptions | undefined } | undefined;

const app = createApp({
  caller: {
    pending: 0,
    call(task, input, options) {
      sent = { task, input, options };
      return Promise.resolve(ending);
    },
  },
  directory: { isSettled: true, settled: () => Promise.resolve(), list: () => [] },
  nodes: { list: () => [] },
  health: { node: "n", broker: () => ({ kind: "idle" }) },
  options: { host: "127.0.0.1", token: "right", maxBodyBytes: 1_024, exposeErrors: true },
});
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request) => app.fetch(request),
});
const url = `http://127.0.0.1:${server.port}`;
const client = new FrontClient({ url, token: "right" });
afterAll(() => server.stop(true));

const ENDINGS: readonly Ending[] = [
  { kind: "succeeded", resultJson: '{"big":12345678901234567890}', headers: {} },
  { kind: "failed", error: { type: "TypeError", message: "m", stack: "at x" }, headers: {} },
  {
    kind: "failed",
    error: { type: "InvalidInput", message: "no", issues: [{ message: "odd", path: ["a", "0"] }] },
    headers: {},
  },
  { kind: "timed_out", limitMs: 3_000 },
  { kind: "expired" },
  { kind: "cancelled" },
  { kind: "unknown_task", task: "t" },
  { kind: "worker_lost", message: "why" },
  { kind: "outcome_unknown", message: "why" },
  { kind: "unreadable_reply", message: "why" },
  { kind: "broker_away", message: "why" },
  { kind: "too_many_waiting", limit: 7 },
  { kind: "refused", message: "why" },
];

describe("FrontClient.call() through a front", () => {
  test.each(ENDINGS.map((one) => [one.kind, one] as const))(
    "brings back %s",
    async (_kind, one) => {
      ending = one;
      expect(await client.call("t", parseInput("[1]"))).toEqual(one);
    },
  );

  test("brings the task, the input and every option", async () => {
    ending = { kind: "expired" };
    const options: CallOptions = {
      headers: { "x-user": "7" },
      queue: "a b",
      priority: 9,
      expiresMs: 1_500,
      timeoutMs: 3_000,
      persistent: true,
      once: true,
    };
    await client.call("wéird/näme 1", parseInput('{"a":1}'), options);
    expect(sent).toEqual({ task: "wéird/näme 1", input: parseInput('{"a":1}'), options });
  });

  test("an input over the front's limit is refused", async () => {
    const large = parseInput(JSON.stringify(["x".repeat(2_000)]));
    expect(await client.call("t", large)).toMatchObject({ kind: "refused" });
  });

  test("a wrong token is told", async () => {
    const wrong = new FrontClient({ url, token: "wrong" });
    await expect(wrong.call("t", parseInput(""))).rejects.toThrow("does not accept the token");
    await expect(new FrontClient({ url }).tasks()).rejects.toThrow("asks for a token");
  });

  test("the lists of tasks and nodes", async () => {
    expect(await client.tasks()).toBe("[]");
    expect(await client.nodes()).toBe("[]");
  });
});
