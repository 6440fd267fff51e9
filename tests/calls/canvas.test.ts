import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { afterFailure, afterSuccess } from "../../src/calls/wire/canvas.ts";
import { followUpMessage } from "../../src/calls/wire/follow_up_message.ts";
import { parseExactly } from "../../src/calls/exact_json.ts";
import {
  awaitedIn,
  type Canvas,
  mayHaveCanvas,
  readCanvas,
} from "../../src/calls/wire/signature.ts";
import { captured } from "../support/celery_fixtures.ts";

const ENDED = { id: "parent", task: "t", rootId: "root" };
const TO = { queue: "elsewhere", origin: "node-1", now: Date.parse("2026-01-01T00:00:00Z") };

const signature = (task: string, more: Record<string, unknown> = {}) => ({
  task,
  args: [],
  kwargs: {},
  options: {},
  subtask_type: null,
  immutable: false,
  ...more,
});
const group = (...tasks: unknown[]) =>
  signature("celery.group", { kwargs: { tasks }, subtask_type: "group" });
const chain = (...tasks: unknown[]) =>
  signature("celery.chain", { kwargs: { tasks }, subtask_type: "chain" });

function canvasOf(embed: Record<string, unknown>): Canvas {
  const canvas = readCanvas(JSON.stringify([[], {}, embed]));
  if (canvas === undefined) throw new Error("It asks for nothing");
  return canvas;
}

function decode(body: Uint8Array): unknown[] {
  return JSON.parse(new TextDecoder().decode(body));
}

describe("readCanvas() on captured messages", () => {
  const bodies = captured("task").map(({ scenario, delivery }) =>
    [scenario, delivery.message.body] as const
  );

  test.each(bodies.filter(([scenario]) => !/link|chain|chord|replace|compression/.test(scenario)))(
    "%s asks for nothing, which its end tells",
    (_, body) => {
      expect(readCanvas(new TextDecoder().decode(body))).toBeUndefined();
    },
  );

  test("what has callbacks, errbacks or a chain is looked at", () => {
    for (const [scenario, body] of bodies) {
      const canvas = readCanvas(new TextDecoder().decode(body));
      if (canvas !== undefined) expect([scenario, mayHaveCanvas(body)]).toEqual([scenario, true]);
    }
  });

  test("a chain tells who waits for its later steps", () => {
    const [first] = bodies.filter(([scenario]) => scenario === "canvas_chain");
    const canvas = readCanvas(new TextDecoder().decode(first?.[1]));
    expect(canvas && awaitedIn(canvas)).toHaveLength(2);
    expect(canvas?.problem).toBeUndefined();
  });
});

describe("a canvas", () => {
  test("has the same ids whenever it is made again, one for each place", () => {
    const canvas = canvasOf({
      callbacks: [signature("a"), signature("b"), group(signature("c"), signature("c"))],
      chain: [signature("late"), signature("next")],
    });
    const once = afterSuccess(canvas, ENDED, "1");
    expect(afterSuccess(canvas, ENDED, "1")).toEqual(once);
    const ids = once.requests.map(({ id }) => id);
    expect(new Set(ids).size).toBe(5);
    for (const id of ids) {
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-/);
    }
    expect(afterSuccess(canvas, { ...ENDED, id: "other" }, "1").requests[0]?.id).not.toBe(ids[0]);
  });

  test("hands the result to what is not immutable, and the rest of the chain to the next step", () => {
    const rest = signature("last", { options: { task_id: "last-id", reply_to: "r" } });
    const canvas = canvasOf({
      chain: [rest, signature("next", { args: [2], options: { task_id: "next-id", queue: "q" } })],
      callbacks: signature("alone", { args: [7], immutable: true }),
    });
    const [callback, next] = afterSuccess(canvas, ENDED, "[1.0]").requests;
    expect(callback).toMatchObject({ task: "alone", argsJson: "[7]", parentId: "parent" });
    expect(next).toMatchObject({ id: "next-id", argsJson: "[[1.0],2]", chain: [rest] });
  });

  test("a chain in a place of one task carries its own steps before those that follow it", async () => {
    const canvas = canvasOf({
      chain: [signature("after"), {
        ...chain(signature("a"), signature("b")),
        options: { queue: "q" },
      }],
    });
    const [first] = afterSuccess(canvas, ENDED, "1").requests;
    if (first === undefined) throw new Error("Nothing follows");
    const message = await followUpMessage(first, TO);
    expect(message.routingKey).toBe("q");
    expect(decode(message.body)).toMatchObject([[1], {}, {
      chain: [{ task: "after" }, { task: "b" }],
      callbacks: null,
    }]);
  });

  test("a link on a chain is on its last step, an errback on each", () => {
    const steps = chain(signature("a"), signature("b"));
    const canvas = canvasOf({
      callbacks: [{
        ...steps,
        options: { link: [signature("then")], link_error: [signature("oh")], task_id: "end" },
      }],
    });
    const [first] = afterSuccess(canvas, ENDED, "1").requests;
    expect(first).toMatchObject({ task: "a", callbacks: [], errbacks: [{ task: "oh" }] });
    expect(first?.chain).toMatchObject([{
      task: "b",
      options: { task_id: "end", link: [{ task: "then" }], link_error: [{ task: "oh" }] },
    }]);
  });

  test("its options become the message's", async () => {
    const options = {
      countdown: 1.5,
      expires: 60,
      priority: 7,
      time_limit: 10,
      soft_time_limit: 5,
      ignore_result: true,
      shadow: "s",
      headers: { "x-user": "7" },
      reply_to: "r",
      exchange: "topics",
      routing_key: "app.x",
    };
    const [request] =
      afterSuccess(canvasOf({ callbacks: [signature("a", { options })] }), ENDED, "1")
        .requests;
    if (request === undefined) throw new Error("Nothing follows");
    const { exchange, routingKey, properties } = await followUpMessage(request, TO);
    expect({ exchange, routingKey }).toEqual({ exchange: "topics", routingKey: "app.x" });
    expect(properties).toMatchObject({
      replyTo: "r",
      priority: 7,
      persistent: true,
      headers: {
        eta: "2026-01-01T00:00:01.500+00:00",
        expires: "2026-01-01T00:01:00.000+00:00",
        timelimit: [10, 5],
        ignore_result: true,
        shadow: "s",
        "x-user": "7",
        parent_id: "parent",
        root_id: "root",
      },
    });
  });

  test("an errback gets the id, or the failure where its task has places for it", () => {
    const canvas = canvasOf({ errbacks: [signature("old", { args: [1] }), signature("new")] });
    const failure = { exceptionJson: '{"exc_type":"E"}', traceback: "at x" };
    const { requests } = afterFailure(canvas, ENDED, failure, (task) => task === "new");
    expect(requests.map(({ argsJson }) => argsJson)).toEqual([
      '["parent",1]',
      '[{"id":"parent","task":"t","root_id":"root"},{"exc_type":"E"},"at x"]',
    ]);
  });

  test.each([
    ["a chord", { callbacks: [signature("celery.chord", { subtask_type: "chord" })] }],
    ["a member of a chord", { chord: signature("body") }],
    ["a task that belongs to one", { callbacks: [signature("a", { options: { chord: {} } })] }],
    ["a group that something follows", { chain: [signature("b"), group(signature("a"))] }],
    ["such a group in a chain", { callbacks: [chain(group(signature("a")), signature("b"))] }],
    ["chunks", { callbacks: [signature("celery.chunks", { subtask_type: "chunks" })] }],
    ["no task", { errbacks: [{ args: [] }] }],
    ["a number", { chain: [7] }],
  ])("%s is refused before anything runs", (_, embed) => {
    expect(canvasOf(embed).problem).toBeString();
  });
});

test("parseExactly() and JSON.stringify give back what they were given", () => {
  const texts = fc.oneof(
    fc.bigInt().map(String),
    fc.integer().map((whole) => `${whole}.0`),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => JSON.stringify(value)),
    fc.json(),
  );
  fc.assert(fc.property(texts, (text) => {
    const again = JSON.stringify(parseExactly(text));
    expect(again).toBe(JSON.stringify(JSON.parse(text)) === again ? again : text);
  }));
  expect(JSON.stringify(parseExactly('[12345678901234567890,1.0,-0,1e3,{"a":[0.10]}]')))
    .toBe('[12345678901234567890,1.0,-0,1e3,{"a":[0.10]}]');
});
