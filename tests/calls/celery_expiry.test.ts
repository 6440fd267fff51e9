/** What becomes of a call that a Celery worker may have, when it expires. */
import { expect, test } from "bun:test";
import { celeryExpiry } from "../../src/calls/celery_expiry.ts";

const queue = (messages: number) => ({ name: "celery", messages, consumers: 1 });

test.each(
  [
    ["active", 0, "runs"],
    ["active", 5, "runs"],
    ["reserved", 0, "expired"],
    ["unseen", 1, "expired"],
    ["unseen", 0, "no_result"],
    ["silent", 1, "expired"],
    ["silent", 0, "unknown"],
  ] as const,
)("celeryExpiry() of a call that is %s, with %d messages in its queue: %s", (place, n, ending) => {
  expect(celeryExpiry(place, queue(n))).toBe(ending);
});

test("celeryExpiry() of a call whose queue is gone: expired, unless it runs", () => {
  expect(celeryExpiry("unseen", undefined)).toBe("expired");
  expect(celeryExpiry("active", undefined)).toBe("runs");
});
