/**
 * Messages of strangers into everything that reads one: whatever comes, the reader answers (with an
 * ending, "unusable", or nothing) and never throws.
 */
import { expect, test } from "bun:test";
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { decompress, InflateError } from "../../src/calls/wire/compression.ts";
import { decodeCommand, isFor, isOver, ownQueueCommand } from "../../src/celery/control/command.ts";
import { elementTexts, isNestedDeeper } from "../../src/calls/wire/json_elements.ts";
import { decodeReply } from "../../src/calls/wire/reply_message.ts";
import { deadLetter, decodeTask, republished } from "../../src/calls/wire/task_message.ts";
import { decodeBeacon } from "../../src/heartbeat/beacon.ts";
import { decodeJobEvents, decodeJobEventsOf } from "../../src/jobs/job_event.ts";
import { decodeQuestion } from "../../src/jobs/questions.ts";
import { readLetter } from "../../src/jobs/recorder/dead_letter_event.ts";
import {
  readStoredMessage,
  secondChance,
  storeMessage,
} from "../../src/jobs/recorder/stored_message.ts";
import { decodeAnnouncement } from "../../src/nodes/announcement.ts";
import { messageJson, readMessage } from "../../src/pubsub/channel_event.ts";
import { channelMatcher, problemOfPattern } from "../../src/pubsub/channel_name.ts";
import { readPosition } from "../../src/pubsub/position.ts";
import { readArguments } from "../../src/tasks/arguments.ts";
import { readConsumed as readConsumedInside } from "../../src/tasks/consumed_message.ts";
import {
  consumedBody,
  nextRound,
  readConsumed,
  remember,
  textHeaders,
} from "../../src/worker/consumed.ts";
import { anyBody, anyDelivery, anyJson, anyText, delivery, nested } from "./arbitraries.ts";
import { holds, holdsLater, LIMIT_MS } from "./runs.ts";

const DEEP = delivery(nested(300_000), { contentType: "application/json" });
const DEEP_JOB = delivery(`[[${nested(300_000)}],{},null]`, {
  contentType: "application/json",
  headers: { id: "0198f000-0000-7000-8000-000000000000", task: "t", "cox-kind": "job" },
});
const ODD_TEXTS = delivery(
  '{"status":"FAILURE","result":{"exc_message":{"toString":1,"valueOf":2},' +
    '"cox_issues":[{"path":[{"toString":1,"valueOf":2}]}]}}',
);
const ODD_COMPRESSION = delivery("{}", { headers: { compression: { toString: 1n, valueOf: 2 } } });
const EMPTY_ID = delivery("", { headers: { "cox-consumed-id": "" } });
const DEEP_RESULT = delivery(`{"status":"SUCCESS","result":${nested(300_000)}}`);
const DEEP_FAILURE = delivery(
  `{"status":"FAILURE","result":{"exc_type":"E","exc_message":[${nested(300_000)}]}}`,
);
const DEEP_EVENT = delivery(`[{"kind":"accepted","id":${nested(300_000)}},1]`);

test("a task message is a task or unusable, with a reason", () => {
  holds(anyDelivery, (given) => {
    const decoded = decodeTask(given);
    if (decoded.kind === "unusable") {
      expect(decoded.reason.length).toBeGreaterThan(0);
      return;
    }
    const { task } = decoded;
    expect(task.id.length * task.task.length).toBeGreaterThan(0);
    for (const number of [task.retries, task.hops, task.deaths, task.firstAttempt]) {
      expect(Number.isSafeInteger(number) && number >= 0).toBe(true);
    }
    for (const at of [task.etaAt, task.expiresAt]) expect(Number.isNaN(at)).toBe(false);
    republished(given.message, { queue: "q", headers: { "cox-hops": 1 } });
    deadLetter(given.message, { to: "d", reason: "r", queue: "q", node: "n", at: 0 });
  }, 2_000);
}, LIMIT_MS);

test("a body is arguments or malformed, with a reason", () => {
  holds(
    fc.oneof(anyJson, anyText),
    (text) => {
      const read = readArguments(text);
      if (read.kind === "malformed") expect(read.reason.length).toBeGreaterThan(0);
      else expect(Array.isArray(read.values)).toBe(true);
    },
    2_000,
    [nested(300_000), `[[],{"__proto__":1},${nested(300_000)}]`],
  );
}, LIMIT_MS);

test("a reply is an ending, news, or something else", async () => {
  const statuses = fc.constantFrom(
    ..."SUCCESS FAILURE REVOKED STARTED RETRY IGNORED PROGRESS PENDING".split(" "),
    "",
  );
  const replies = fc.tuple(statuses, anyJson, anyJson, anyDelivery).map((
    [status, result, traceback, { message: { properties } }],
  ) =>
    delivery(`{"status":"${status}","result":${result},"traceback":${traceback}}`, {
      ...properties,
      headers: { ...properties.headers, compression: null },
    })
  );
  await holdsLater(
    fc.oneof(anyDelivery, replies),
    async (given) => {
      const decoded = await decodeReply(given, 1_000_000);
      expect(["ending", "started", "retrying", "progress", "other"]).toContain(decoded.kind);
    },
    2_000,
    [DEEP, DEEP_RESULT, DEEP_FAILURE, ODD_TEXTS, ODD_COMPRESSION],
  );
}, LIMIT_MS);

test("what inflates is never larger than its bound, however often it was packed", async () => {
  const bombs = fc.tuple(fc.integer({ min: 0, max: 20_000_000 }), fc.integer({ min: 1, max: 3 }))
    .map(([size, layers]) => {
      let body = new Uint8Array(size);
      for (let layer = 0; layer < layers; layer++) body = new Uint8Array(deflateSync(body));
      return body;
    });
  const before = process.memoryUsage.rss();
  await holdsLater(fc.oneof(bombs, anyBody), async (body) => {
    const limitBytes = 100_000;
    const result = await decompress(body, limitBytes).catch((error: unknown) => {
      expect(error).toBeInstanceOf(InflateError);
      return new Uint8Array();
    });
    expect(result.length).toBeLessThanOrEqual(limitBytes);
  }, 60);
  expect(process.memoryUsage.rss() - before).toBeLessThan(300_000_000);
}, LIMIT_MS);

test("control messages are commands or nothing", () => {
  const commands = fc.tuple(anyJson, anyJson, anyJson).map(([ids, method, destination]) =>
    delivery(
      `{"method":${method},"arguments":{"task_id":${ids},"queue":${ids},"terminate":${ids}},` +
        `"destination":${destination}}`,
    )
  );
  holds(
    fc.oneof(anyDelivery, commands),
    (given) => {
      const decoded = decodeCommand(given);
      if (decoded.kind === "malformed") return expect(decoded.reason).toBeString();
      const { command } = decoded;
      expect(command.method).toBeString();
      for (const name of command.destination) expect(name).toBeString();
      isOver(command, 0);
      isFor(command, "node");
      ownQueueCommand(command);
    },
    1_000,
    [DEEP],
  );
}, LIMIT_MS);

test("job events, questions, beacons and announcements are read or passed over", () => {
  holds(
    anyBody,
    (body) => {
      expect(["events", "unusable"]).toContain(decodeJobEvents(body).kind);
      decodeJobEventsOf(body, () => true);
      decodeQuestion(body);
      decodeBeacon(body);
      decodeAnnouncement(body);
    },
    2_000,
    [DEEP.message.body, DEEP_EVENT.message.body],
  );
}, LIMIT_MS);

test("a dead letter of any kind has a record, and its message comes out of it again", async () => {
  await holdsLater(
    anyDelivery,
    async (given) => {
      const { event } = await readLetter(given, () => "new-id", 1_700_000_000_000);
      expect(event.id.length * event.task.length * event.queue.length).toBeGreaterThanOrEqual(0);
      expect(Number.isFinite(event.at) && Number.isFinite(event.seq)).toBe(true);
      JSON.stringify(event);
      const stored = readStoredMessage(storeMessage(given.message));
      expect(stored?.body).toEqual(given.message.body);
      if (stored !== undefined) secondChance(stored, "q");
    },
    1_000,
    [DEEP, DEEP_JOB],
  );
  holds(anyText, (text) => void readStoredMessage(text), 500, [nested(300_000)]);
}, LIMIT_MS);

test("the elements of an array keep the text that they were written with", () => {
  const spaced = fc.array(fc.tuple(fc.constantFrom("", " ", "\n\t"), fc.json()));
  holds(spaced, (parts) => {
    const text = `[${parts.map(([space, json]) => `${space}${json}${space}`).join(",")}]`;
    expect(elementTexts(text)).toEqual(parts.map(([, json]) => json.trim()));
  }, 1_000);
  expect(elementTexts('[1.0,{"a":[12345678901234567890]},"]\\\\\\""]')).toEqual([
    "1.0",
    '{"a":[12345678901234567890]}',
    '"]\\\\\\""',
  ]);
  holds(fc.tuple(fc.integer({ min: 1, max: 20 }), anyJson), ([most, json]) => {
    expect(isNestedDeeper(json, most)).toBe(depthOf(json) > most);
  }, 1_000);
}, LIMIT_MS);

/** The most brackets that are open at once, without the texts. */
function depthOf(json: string): number {
  let depth = 0;
  let most = 0;
  for (const bracket of json.replace(/"(?:[^"\\]|\\.)*"/g, "").replace(/[^[\]{}]/g, "")) {
    depth += "[{".includes(bracket) ? 1 : -1;
    most = Math.max(most, depth);
  }
  return most;
}

test("a consumed message of any kind crosses to the isolate", () => {
  holds(
    anyDelivery,
    (given) => {
      const consumed = readConsumed(given, () => "new-id");
      expect(consumed.id.length).toBeGreaterThan(0);
      textHeaders(consumed);
      const read = readConsumedInside(consumedBody(consumed, given.message, given.redelivered));
      expect(read.kind).toBe("arguments");
      const history = remember(consumed, "\ud800", "node", 0);
      nextRound(given.message, consumed, { failures: 1, deaths: 0, history });
    },
    2_000,
    [DEEP, EMPTY_ID],
  );
}, LIMIT_MS);

test("a channel's message of any kind is one line of JSON", () => {
  holds(
    anyDelivery,
    ({ message }) => {
      const heard = readMessage(message, 1_700_000_000_000, () => "new-id");
      const json = messageJson(heard, "position");
      expect(json).not.toMatch(/[\r\n]/);
      if (message.body.length < 50_000) JSON.parse(json);
    },
    2_000,
    [DEEP],
  );
  holds(anyText, (text) => expect(readPosition(text).id).toBeString(), 500);
}, LIMIT_MS);

test("any pattern is refused or matches in time that grows with its length alone", () => {
  const words = fc.array(fc.constantFrom("a", "b", "*", "#", "", "é"), { maxLength: 40 });
  holds(fc.tuple(fc.oneof(anyText, words.map((parts) => parts.join("."))), anyText), (
    [pattern, channel],
  ) => {
    if (problemOfPattern(pattern) === undefined) channelMatcher(pattern)(channel);
  }, 2_000);
  const start = performance.now();
  const isMatch = channelMatcher(Array(120).fill("#.a").join("."))(Array(120).fill("a").join("."));
  expect(isMatch).toBe(true);
  expect(performance.now() - start).toBeLessThan(1_000);
}, LIMIT_MS);
