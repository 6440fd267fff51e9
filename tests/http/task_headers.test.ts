import { expect, test } from "bun:test";
import { forwardedHeaders, resultHeaders } from "../../src/http/task_headers.ts";

test("forwardedHeaders() gives a task x-* and the trace context, and no credentials", () => {
  const headers = new Headers({
    "X-Question": "why",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate: "a=b",
    baggage: "c=d",
    authorization: "Bearer secret",
    cookie: "session=secret",
    "proxy-authorization": "Basic c2VjcmV0",
    host: "example.org",
    "content-type": "application/json",
  });
  expect(forwardedHeaders(headers)).toEqual({
    "x-question": "why",
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    tracestate: "a=b",
    baggage: "c=d",
  });
});

test("resultHeaders() gives a client what a task set, with lower-case names", () => {
  expect(resultHeaders({ "X-Width": "20", "cache-control": "max-age=60", etag: '"é"' })).toEqual({
    "x-width": "20",
    "cache-control": "max-age=60",
    etag: '"é"',
  });
});

test("resultHeaders() withholds framing, cookies, cross-origin rules and what no field can carry", () => {
  const withheld = {
    connection: "close",
    "transfer-encoding": "chunked",
    "content-length": "1",
    "Content-Type": "text/html",
    "content-encoding": "gzip",
    "set-cookie": "a=b",
    "access-control-allow-origin": "*",
    "strict-transport-security": "max-age=1",
    "x-two-lines": "a\r\nset-cookie: b",
    "x-nul": "\0",
    "x-wide": "日本",
    "x bad name": "1",
    "": "1",
  };
  expect(resultHeaders(withheld)).toEqual({});
});

test("resultHeaders() sends no more than 8 KiB", () => {
  const many = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [`x-${i}`, "v".repeat(1_000)]),
  );
  const sent = Object.entries(resultHeaders(many));
  expect(sent.length).toBeGreaterThan(5);
  expect(sent.flat().join("").length).toBeLessThanOrEqual(8 * 1_024);
});
