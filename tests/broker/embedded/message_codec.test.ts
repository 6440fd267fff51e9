/** What the disk gives back is what it was given. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeProperties, encodeProperties } from "../../../src/broker/embedded/message_codec.ts";
import { whyUnwritable } from "../../../src/broker/embedded/message_check.ts";
import type { HeaderValue, Message, MessageProperties } from "../../../src/broker/message.ts";

const { value } = fc.letrec<{ value: HeaderValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.string({ unit: "binary" }),
    fc.double(),
    fc.integer(),
    fc.bigInt(),
    fc.boolean(),
    fc.constant(null),
    fc.date({ noInvalidDate: true }),
    fc.uint8Array(),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(fc.constant("$"), fc.string()), tie("value"), { maxKeys: 4 }),
  ),
}));

describe("message codec", () => {
  test("reads back any headers exactly", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), value), (headers) => {
        const read = decodeProperties(encodeProperties({ headers }));
        expect(read).toStrictEqual({ headers: { ...headers } });
      }),
      { numRuns: 500 },
    );
  });

  test("reads back every property, and no other", () => {
    const properties: Required<Omit<MessageProperties, "headers">> = {
      contentType: "application/json",
      contentEncoding: "utf-8",
      persistent: true,
      priority: 9,
      correlationId: "c",
      replyTo: "r",
      expirationMs: 1500,
      messageId: "m",
      timestamp: new Date(1_234_567_890_123),
      type: "t",
      appId: "a",
    };
    expect(decodeProperties(encodeProperties(properties))).toStrictEqual(properties);
    expect(decodeProperties(encodeProperties({}))).toStrictEqual({});
  });

  test("refuses a kind that it does not know", () => {
    expect(() => decodeProperties('{"headers":{"a":{"$":["later",1]}}}')).toThrow("later");
  });
});

describe("whyUnwritable()", () => {
  const message = (properties: MessageProperties): Message => ({
    exchange: "",
    routingKey: "q",
    properties,
    body: new Uint8Array(0),
  });

  test("names the property and what was needed", () => {
    const told = (properties: MessageProperties) => whyUnwritable(message(properties));
    expect(told({ priority: 256 })).toContain("from 0 to 255, got 256");
    expect(told({ priority: 0.5 })).toContain("got 0.5");
    expect(told({ expirationMs: Number.NaN })).toContain("got NaN");
    expect(told({ replyTo: "r".repeat(300) })).toContain("replyTo");
    expect(told({ headers: { f: (() => 1) as unknown as HeaderValue } })).toContain("function");
    expect(told({ headers: {}, priority: 255, expirationMs: 0 })).toBeUndefined();
  });

  test("refuses headers without a bottom before they exhaust the stack", () => {
    let table: { [key: string]: HeaderValue } = {};
    let list: HeaderValue = [];
    for (let depth = 0; depth < 100_000; depth++) {
      table = { table };
      list = [list];
    }
    expect(whyUnwritable(message({ headers: table }))).toContain("deeper");
    expect(whyUnwritable(message({ headers: { list } }))).toContain("too deeply");
  });

  test("refuses a body that is larger than any broker takes", () => {
    const body = new Uint8Array(128 * 1024 * 1024 + 1);
    expect(whyUnwritable({ ...message({}), body })).toContain("at most");
  });
});
