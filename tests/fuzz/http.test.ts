/**
 * HTTP over raw sockets into the compiled executable: any method, path, query, header field, body and
 * chunking, and requests that are none. Every answer is well-formed; what fails tells a problem of the
 * table, and never "internal-error"; the process lives, keeps no connections and stays small.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import fc from "fast-check";
import { isProblemName, PROBLEMS } from "../../src/http/problems.ts";
import { type App, startNode, until } from "../support/app.ts";
import { anyJson, anyText, nested } from "./arbitraries.ts";
import { holdsLater, LIMIT_MS } from "./runs.ts";

/** A whole request is answered within five times what any route takes. */
const ANSWER_LIMIT_MS = 20_000;
/** How long to listen to what is not owed an answer. */
const LISTEN_MS = 30;

let app: App;
let port: number;

beforeAll(async () => {
  app = await startNode(["all", "--port", "0", "--max-body", "64KiB", "--log-level", "info"]);
  port = Number(new URL(app.url).port);
}, LIMIT_MS);
afterAll(() => app?.[Symbol.asyncDispose]());

interface Answer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** Undefined where it is not whole: a stream, or one that was cut off by us. */
  readonly body: string | undefined;
}

/** What came back: whole or begun answers, and what is none. */
function parseAnswers(bytes: Buffer): { answers: Answer[]; rest: string } {
  const answers: Answer[] = [];
  let at = 0;
  while (at < bytes.length) {
    const end = bytes.indexOf("\r\n\r\n", at);
    if (end === -1) return { answers, rest: bytes.subarray(at).toString("latin1") };
    const [start = "", ...lines] = bytes.subarray(at, end).toString("latin1").split("\r\n");
    const status = /^HTTP\/1\.1 ([1-5]\d\d) [ -~]*$/.exec(start)?.[1];
    const fields = lines.map((line) => /^([!#$%&'*+.^_`|~\w-]+): ?([^\0\r\n]*)$/.exec(line));
    if (status === undefined || fields.includes(null)) {
      return { answers, rest: bytes.subarray(at).toString("latin1") };
    }
    const headers = new Map(fields.map((field): [string, string] => [
      (field?.[1] ?? "").toLowerCase(),
      field?.[2] ?? "",
    ]));
    const from = end + 4;
    const isEmpty = status.startsWith("1") || status === "204" || status === "304";
    const length = isEmpty ? 0 : Number(headers.get("content-length") ?? NaN);
    const isWhole = from + length <= bytes.length;
    const body = isWhole ? bytes.subarray(from, from + length).toString() : undefined;
    answers.push({ status: Number(status), headers, body });
    // A stream has no length: all that follows is its own.
    if (!isWhole) break;
    at = from + length;
  }
  return { answers, rest: "" };
}

/**
 * Sends bytes in pieces and gives all that comes back.
 * @param isOwed whether an answer has to come; else it is listened for a moment.
 */
function exchange(pieces: readonly Uint8Array[], isOwed: boolean): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    const received: Buffer[] = [];
    const end = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(Buffer.concat(received));
    };
    const timer = setTimeout(() => {
      if (!isOwed) return end();
      socket.destroy();
      reject(new Error(`No answer within ${ANSWER_LIMIT_MS} ms`));
    }, isOwed ? ANSWER_LIMIT_MS : LISTEN_MS);
    socket.on("error", end);
    socket.on("close", end);
    socket.on("data", (chunk) => {
      received.push(Buffer.from(chunk));
      if (!isOwed) return;
      const { answers, rest } = parseAnswers(Buffer.concat(received));
      if (rest !== "" || answers.some(({ status }) => status >= 200)) end();
    });
    for (const piece of pieces) socket.write(piece);
  });
}

/** @param isHead the answer to HEAD has no body. */
function expectWellFormed(bytes: Buffer, isHead = false): void {
  const { answers, rest } = parseAnswers(bytes);
  if (!isHead) expect(rest).toBe("");
  for (const { status, headers, body } of answers) {
    if (status < 400 || isHead || body === undefined) continue;
    // The runtime's own parser refuses without a word what is no HTTP.
    if (body === "" && [400, 405, 413, 414, 431, 501, 505].includes(status)) continue;
    expect(headers.get("content-type")).toBe("application/problem+json");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    const { type, status: told } = JSON.parse(body);
    const name = String(type).replace("/problems/", "");
    expect(name).not.toBe("internal-error");
    expect(isProblemName(name) ? PROBLEMS[name].status : 0).toBe(status);
    expect(told).toBe(status);
  }
}

const segment = fc.oneof(
  fc.constantFrom("math.add", "echo", "fail", "nobody", "a.b", "%00", "%", "%ff", "..", "%2e%2e"),
  fc.constantFrom(
    "%2F",
    "%252F",
    ".",
    "",
    "demo",
    "0198f000-0000-7000-8000-000000000000",
    "*",
    "#",
  ),
  anyText.map((text) => encodeURIComponent(text.toWellFormed()).slice(0, 4_000)),
  fc.stringMatching(/^[!-"$-~]{0,40}$/),
);

const path = fc.oneof(
  fc.constantFrom(
    ...["/", "/healthz", "/readyz", "/tasks", "/nodes", "/queues", "/jobs", "/schedules"],
    ...["/parallel", "/dead-letters", "/dead-letters/retry", "/metrics", "/openapi.json", "*"],
  ),
  fc.tuple(
    fc.constantFrom(
      ...["/tasks/X/call", "/tasks/X/jobs", "/jobs/X", "/jobs/X/events", "/jobs/X/retry"],
      ...["/channels/X", "/exchanges/X", "/queues/X/pause", "/queues/X/resume", "/queues/X/purge"],
      ...["/dead-letters/X", "/dead-letters/X/retry", "/schedules/X/run", "/schedules/X/pause"],
      ...["/problems/X", "/devices", "/devices/X", "/devices/X/commands", "/X", "/X/X", "//X"],
    ),
    segment,
  ).map(([route, text]) => route.replaceAll("X", () => text)),
);

const query = fc.oneof(
  { arbitrary: fc.constant(""), weight: 3 },
  fc.array(
    fc.tuple(
      fc.constantFrom(
        ...["timeout", "expires", "priority", "queue", "wait", "delay", "eta", "retries", "limit"],
        ...["cursor", "state", "task", "key", "header", "persistent", "type", "once", "after"],
      ),
      fc.oneof(
        fc.constantFrom("1ms", "-1", "1e9", "999999999999d", "0", "NaN", "%", "%00", "a:b", ""),
        anyText.map((text) => encodeURIComponent(text.toWellFormed()).slice(0, 2_000)),
      ),
    ),
    { minLength: 1, maxLength: 4 },
  ).map((pairs) => `?${pairs.map((pair) => pair.join("=")).join("&")}`),
  fc.stringMatching(/^\?[!-"$-~]{0,60}$/),
);

const fieldValue = fc.oneof(
  fc.stringMatching(/^[!-~]{0,40}$/),
  fc.uint8Array({ maxLength: 30 }).map((bytes) =>
    Buffer.from(bytes).toString("latin1").replace(/[\r\n\0]/g, "?")
  ),
  fc.integer({ min: 1, max: 30_000 }).map((length) => "v".repeat(length)),
);

/** Fields that do not change where the request ends. */
const field = fc.tuple(
  fc.oneof(
    fc.constantFrom(
      ...["Host", "Origin", "Sec-Fetch-Site", "Authorization", "Content-Type", "Content-Encoding"],
      ...["Idempotency-Key", "Last-Event-ID", "Accept", "Range", "If-None-Match", "Cookie", "Date"],
      ...["X-Forwarded-For", "Traceparent", "Via", "TE", "Trailer", "__proto__", "cox-kind"],
    ),
    fc.stringMatching(/^[a-z][a-z-]{0,30}$/).filter((name) =>
      !/^(?:content-length|transfer-encoding|upgrade|expect|connection)$/.test(name)
    ),
  ),
  fieldValue,
).map(([name, value]) => `${name}: ${value}`);

/** What several calls, or jobs, are asked with. */
const elements = fc.array(
  fc.dictionary(
    fc.constantFrom(
      ...["task", "input", "timeout", "expires", "priority", "queue", "delay", "eta", "retries"],
      ...["unique", "idempotencyKey", "once", "persistent", "__proto__", "other"],
    ),
    fc.oneof(
      anyJson,
      fc.constantFrom('"math.add"', '"echo"', "[1,2]", '{"toString":1,"valueOf":2}', '"1ms"'),
    ),
  ),
  { maxLength: 4 },
).map((all) => {
  const texts = all.map((one) => Object.entries(one).map(([name, value]) => `"${name}":${value}`));
  return Buffer.from(`[${texts.map((members) => `{${members.join(",")}}`).join(",")}]`);
});

const body = fc.oneof(
  anyJson.map((text) => Buffer.from(text)),
  elements,
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
  fc.integer({ min: 60_000, max: 70_000 }).map((size) => Buffer.alloc(size, "[")),
);

/** The body with what announces it: its length, or chunks of its own sizes. */
const announced = fc.tuple(body, fc.option(fc.integer({ min: 1, max: 5_000 }))).map(
  ([bytes, chunk]): { fields: string[]; bytes: Buffer } => {
    if (chunk === null) return { fields: [`Content-Length: ${bytes.length}`], bytes };
    const parts: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += Math.max(chunk, bytes.length >> 5)) {
      const part = bytes.subarray(at, at + Math.max(chunk, bytes.length >> 5));
      parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n"));
    }
    return {
      fields: ["Transfer-Encoding: chunked"],
      bytes: Buffer.concat([...parts, Buffer.from("0\r\n\r\n")]),
    };
  },
);

const method = fc.oneof(
  { arbitrary: fc.constantFrom("GET", "POST", "DELETE", "HEAD"), weight: 6 },
  fc.constantFrom("PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "PRI", "X"),
);

const request = fc.record({
  method,
  path,
  query,
  fields: fc.array(field, { maxLength: 5 }),
  announced: fc.option(announced),
}).map(({ method, path, query, fields, announced }) => ({
  method,
  bytes: Buffer.concat([
    Buffer.from(
      [
        `${method} ${path}${query} HTTP/1.1`,
        `Host: 127.0.0.1:${port}`,
        ...fields,
        ...(announced?.fields ?? []),
        "",
        "",
      ].join("\r\n"),
      "latin1",
    ),
    announced?.bytes ?? Buffer.of(),
  ]),
}));

/** Routes that answer when there is something to tell, or never end. */
const isPatient = (bytes: Buffer) => /[?&]wait=|\/events|GET \/channels/.test(bytes.toString());

test("every whole request has a well-formed answer, whatever it asks", async () => {
  await holdsLater(request, async ({ method, bytes }) => {
    expectWellFormed(await exchange([bytes], !isPatient(bytes)), method === "HEAD");
  }, 700);
  await expectWell();
}, LIMIT_MS);

test.each(["CONNECT *?", "CONNECT *", "CONNECT tasks", "CONNECT ?", "GET http://other/tasks"])(
  "%s goes through the same looks as any other",
  async (start) => {
    const bytes = Buffer.from(`${start} HTTP/1.1\r\nHost: rebound.example\r\n\r\n`);
    for (const { status } of parseAnswers(await exchange([bytes], true)).answers) {
      expect([400, 403]).toContain(status);
    }
  },
);

test("several calls or jobs, each of any kind", async () => {
  await holdsLater(
    fc.tuple(fc.constantFrom("/parallel", "/jobs"), elements),
    async ([path, body]) => expectWellFormed(await exchange([post(path, body)], true)),
    300,
  );
}, LIMIT_MS);

test.each(["/tasks/echo/call", "/tasks/echo/jobs", "/parallel", "/jobs"])(
  "POST %s refuses what is nested too deeply",
  async (path) => {
    const isMany = !path.startsWith("/tasks");
    for (const depth of [501, 30_000]) {
      for (const member of ["input", ...(isMany ? ["timeout"] : [])]) {
        const deep = nested(depth);
        const body = isMany ? `[{"task":"echo","${member}":${deep}}]` : deep;
        const { answers } = parseAnswers(await exchange([post(path, Buffer.from(body))], true));
        expect(answers[0]?.status).toBe(400);
        expect(answers[0]?.body).toContain("nested more than 500 levels deep");
      }
    }
  },
);

function post(path: string, body: Uint8Array): Buffer {
  const head = ["Host: 127.0.0.1", `Content-Length: ${body.length}`, "", ""].join("\r\n");
  return Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${head}`), body]);
}

test("what is cut, changed or made of nothing is answered well or not at all", async () => {
  const broken = fc.oneof(
    fc.tuple(request, fc.nat(), fc.uint8Array({ maxLength: 6 })).map(([{ bytes }, at, put]) => {
      const place = at % bytes.length;
      return Buffer.concat([bytes.subarray(0, place), put, bytes.subarray(place + put.length)]);
    }),
    fc.tuple(request, fc.nat()).map(([{ bytes }, at]) => bytes.subarray(0, at % bytes.length)),
    fc.uint8Array({ minLength: 1, maxLength: 300 }),
    // A line without an end, and heads that have none.
    fc.integer({ min: 1, max: 200_000 }).map((length) => Buffer.from("GET /" + "a".repeat(length))),
    fc.integer({ min: 1, max: 3_000 }).map((count) =>
      Buffer.from(`GET / HTTP/1.1\r\n${"a: b\r\n".repeat(count)}\r\n`)
    ),
  );
  await holdsLater(broken, async (bytes) => {
    const { answers } = parseAnswers(await exchange([bytes], false));
    for (const { status } of answers) expect(status).not.toBe(500);
  }, 250);
  await expectWell();
}, LIMIT_MS);

test("frames of any kind on a WebSocket end it or nothing, and no more", async () => {
  const upgrade = Buffer.from(
    [
      "GET /channels/fuzz.# HTTP/1.1",
      `Host: 127.0.0.1:${port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      "",
      "",
    ].join("\r\n").replace("#", "%23"),
  );
  const frames = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      // Any first byte, any announced length, masked or not.
      fc.tuple(fc.nat(255), fc.nat(255), fc.uint8Array({ maxLength: 40 })).map((
        [first, length, rest],
      ) => Buffer.concat([Buffer.of(first, length), rest])),
      fc.constant(Buffer.concat([Buffer.of(0x82, 0xff), Buffer.alloc(8, 0xff), Buffer.alloc(4)])),
      // Fragments without an end.
      fc.constant(Buffer.concat(Array(50).fill(Buffer.of(0x01, 0x81, 0, 0, 0, 0, 65)))),
    ),
    { minLength: 1, maxLength: 4 },
  );
  await holdsLater(frames, async (pieces) => {
    const bytes = await exchange([upgrade, ...pieces], false);
    const { answers } = parseAnswers(bytes);
    if (bytes.length > 0) expect(answers[0]?.status).toBe(101);
  }, 80);
  await expectWell();
}, LIMIT_MS);

/** Alive, quiet, small, and without connections that nobody has any more. */
async function expectWell(): Promise<void> {
  expect((await fetch(`${app.url}/healthz`)).status).toBe(200);
  expect((await app.call("math.add", [1, 2])).status).toBe(200);
  expect(app.isRunning).toBe(true);
  expect(app.log).not.toMatch(/uncaught|unhandled|"level":"(?:ERROR|FATAL)"/i);
  await until(
    () => readdirSync(`/proc/${app.pid}/fd`).length < 80,
    "its connections to be closed",
  );
  const rssKiB = Number(
    /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${app.pid}/status`, "utf8"))?.[1],
  );
  expect(rssKiB).toBeLessThan(600 * 1024);
}

test.each([
  ["a length and chunks", "Content-Length: 5", "Transfer-Encoding: chunked"],
  ["chunks and a length", "Transfer-Encoding: chunked", "Content-Length: 5"],
  ["two lengths", "Content-Length: 5", "Content-Length: 6"],
  ["a length that is a list", "Content-Length: 5, 6"],
  ["a length with a sign", "Content-Length: +5"],
  ["a negative length", "Content-Length: -5"],
  ["a length in hexadecimal", "Content-Length: 0x5"],
  ["a length past 64 bits", "Content-Length: 99999999999999999999999"],
  ["chunks that are not the last encoding", "Transfer-Encoding: chunked, identity"],
  ["an encoding that nobody knows", "Transfer-Encoding: xchunked"],
  ["chunks twice", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
  ["a blank before the colon", "Transfer-Encoding : chunked"],
  ["a folded field", "X: y", " Transfer-Encoding: chunked"],
])("%s is refused, and nothing is read behind it", async (_, ...fields) => {
  const hidden = "GET /problems/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  const head = ["POST /tasks/echo/call HTTP/1.1", "Host: 127.0.0.1", ...fields, "", ""];
  const bytes = Buffer.from(`${head.join("\r\n")}0\r\n\r\n${hidden}`);
  const { answers } = parseAnswers(await exchange([bytes], false));
  expect(answers.map(({ status }) => status)).toEqual([400]);
});
