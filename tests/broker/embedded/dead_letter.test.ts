/** The story that a dead letter tells, and when it is told no further. */
import { describe, expect, test } from "bun:test";
import { deadLetter, isCircling } from "../../../src/broker/embedded/dead_letter.ts";
import type { Message } from "../../../src/broker/message.ts";

const AT = Date.UTC(2030, 0, 1, 12, 0, 0, 750);
const first = { name: "first", shape: { deadLetterExchange: "dlx" } };
const second = { name: "second", shape: { deadLetterExchange: "", deadLetterRoutingKey: "back" } };
const message: Message = {
  exchange: "entry",
  routingKey: "key",
  properties: { expirationMs: 500, headers: { mine: 1 } },
  body: new Uint8Array([1, 2]),
};

describe("deadLetter()", () => {
  test("tells where, why, when and from which exchange, and expires no more", () => {
    const letter = deadLetter(message, first, "expired", AT);
    expect(letter).toEqual({
      exchange: "dlx",
      routingKey: "key",
      properties: {
        headers: {
          mine: 1,
          "x-first-death-reason": "expired",
          "x-first-death-queue": "first",
          "x-first-death-exchange": "entry",
          "x-death": [{
            count: 1,
            reason: "expired",
            queue: "first",
            time: new Date(Date.UTC(2030, 0, 1, 12)),
            exchange: "entry",
            "routing-keys": ["key"],
            "original-expiration": "500",
          }],
        },
      },
      body: message.body,
    });
  });

  test("counts a second death of the same kind, puts the newest first, keeps the first in mind", () => {
    const one = deadLetter(message, first, "rejected", AT);
    const two = deadLetter(one, second, "expired", AT);
    const three = deadLetter(two, first, "rejected", AT);
    expect([two.exchange, two.routingKey]).toEqual(["", "back"]);
    const { headers = {} } = three.properties;
    expect(headers["x-first-death-queue"]).toBe("first");
    expect(headers["x-death"]).toMatchObject([
      { queue: "first", reason: "rejected", count: 2 },
      { queue: "second", reason: "expired", count: 1 },
    ]);
  });

  test("takes no harm from a publisher's own x-death", () => {
    const odd = { ...message, properties: { headers: { "x-death": ["nonsense", null, 7] } } };
    const letter = deadLetter(odd, first, "maxlen", AT);
    expect(letter.properties.headers?.["x-death"]).toMatchObject([{ queue: "first", count: 1 }]);
    expect(isCircling(odd, "first")).toBe(false);
  });
});

describe("isCircling()", () => {
  test("is true where only time has moved it since it was here", () => {
    const letter = deadLetter(deadLetter(message, first, "expired", AT), second, "maxlen", AT);
    expect(isCircling(letter, "first")).toBe(true);
    expect(isCircling(letter, "third")).toBe(false);
  });

  test("is false where somebody rejected it on the way", () => {
    const letter = deadLetter(deadLetter(message, first, "expired", AT), second, "rejected", AT);
    expect(isCircling(letter, "first")).toBe(false);
  });
});
