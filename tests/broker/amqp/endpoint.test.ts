/** Reading AMQP URLs, and the sentences for what connecting met. */
import { describe, expect, test } from "bun:test";
import { mismatchText } from "../../../src/broker/amqp/declare.ts";
import { parseEndpoint } from "../../../src/broker/amqp/endpoint.ts";
import { brokerReply, failureOf } from "../../../src/broker/amqp/failure.ts";

const withCode = (message: string, code: string) => Object.assign(new Error(message), { code });

describe("parseEndpoint()", () => {
  test("fills in what is not said", () => {
    expect(parseEndpoint("amqp://localhost")).toEqual({
      host: "localhost",
      port: 5672,
      isTls: false,
      vhost: "/",
      username: "guest",
      password: "guest",
      label: "amqp://localhost:5672",
    });
    expect(parseEndpoint("amqps://rabbit.example/")).toMatchObject({ port: 5671, isTls: true });
    expect(parseEndpoint("amqp://")).toMatchObject({ host: "localhost" });
  });

  test("decodes each part, and shows no secret", () => {
    const endpoint = parseEndpoint("amqp://us%3Aer:p%40ss@[::1]:99/a%2Fb?heartbeat=1");
    expect(endpoint).toMatchObject({
      host: "::1",
      port: 99,
      vhost: "a/b",
      username: "us:er",
      password: "p@ss",
      label: "amqp://[::1]:99/a%2Fb",
    });
  });
});

describe("failureOf()", () => {
  const kinds: readonly (readonly [Error, "refused" | "away"])[] = [
    [new Error("connection closed: ACCESS_REFUSED - Login was refused (403)"), "refused"],
    [new Error("Channel 0 closed: connection closed: NOT_ALLOWED - vhost x (530)"), "refused"],
    [
      new Error("connection closed: NOT_ALLOWED - vhost connection limit (1) is reached (530)"),
      "away",
    ],
    [new Error("connection closed: CONNECTION_FORCED - broker forced (320)"), "away"],
    [withCode("unable to verify", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"), "refused"],
    [withCode("names differ", "ERR_TLS_CERT_ALTNAME_INVALID"), "refused"],
    [withCode("wrong version number", "ERR_SSL_WRONG_VERSION_NUMBER"), "refused"],
    [withCode("connect ECONNREFUSED 127.0.0.1:1", "ECONNREFUSED"), "away"],
    [withCode("getaddrinfo ENOTFOUND x", "ENOTFOUND"), "away"],
    [new Error("no answer to the greeting within 5 ms"), "away"],
  ];
  for (const [error, kind] of kinds) {
    test(`"${error.message}" is ${kind}`, () => expect(failureOf(error).kind).toBe(kind));
  }

  test("an error without words is told by its code", () => {
    expect(failureOf(withCode("", "ETIMEDOUT"))).toEqual({ kind: "away", reason: "ETIMEDOUT" });
  });
});

test("brokerReply() reads code and text, over lines and brackets", () => {
  const said = "NOT_FOUND - no queue 'a (1)\nb' in vhost '/'";
  expect(brokerReply(new Error(`channel 12 closed: ${said} (404)`)))
    .toEqual({ code: 404, text: said });
  expect(brokerReply(new Error("Socket closed"))).toBeUndefined();
  expect(brokerReply("channel 1 closed: x (404)")).toBeUndefined();
});

test("mismatchText() says what is lost", () => {
  const refusal = "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'q' in vhost";
  expect(mismatchText("q", refusal)).toContain("priorities are not told apart");
  expect(mismatchText("q", "PRECONDITION_FAILED - of a new kind")).toContain("other than asked");
});
