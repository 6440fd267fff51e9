import { describe, expect, test } from "bun:test";
import { Backoff } from "../../src/async/backoff.ts";

describe("Backoff", () => {
  test("doubles up to its cap, and starts again after reset()", () => {
    const backoff = new Backoff({ baseMs: 100, capMs: 500, random: () => 0 });
    expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([100, 200, 400, 500, 500]);
    backoff.reset();
    expect(backoff.next()).toBe(100);
  });

  test("shortens each pause by at most half", () => {
    const backoff = new Backoff({ baseMs: 100, capMs: 100, random: () => 1 });
    expect(backoff.next()).toBe(50);
  });

  test("stays finite after very many tries", () => {
    const backoff = new Backoff({ baseMs: 1, capMs: 1_000 });
    for (let count = 0; count < 5_000; count++) backoff.next();
    expect(backoff.next()).toBeLessThanOrEqual(1_000);
  });
});
