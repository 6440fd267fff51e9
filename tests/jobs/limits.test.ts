import { describe, expect, test } from "bun:test";
import type { JobEvent } from "../../src/jobs/job_event.ts";
import { withinLimits } from "../../src/jobs/limits.ts";
import { Life } from "./job_lives.ts";

function failed(message: string, stack: string): JobEvent {
  const error = { type: "Error", message, stack };
  return new Life().accepted().outcome({ kind: "failed", error }).last;
}

describe("withinLimits", () => {
  test("lets what is small pass as it is", () => {
    for (
      const event of new Life().accepted().started().progress(0.5).retrying().published().outcome()
        .retried().cancelRequested().events
    ) expect(withinLimits(event)).toBe(event);
  });

  test("leaves out a result over the limit in bytes, and tells its size", () => {
    const result = (characters: string) =>
      new Life().outcome({ kind: "succeeded", resultJson: JSON.stringify(characters) }).last;
    expect(withinLimits(result("üü"), 6)).toMatchObject({ outcome: { resultJson: '"üü"' } });
    expect(withinLimits(result("üüü"), 6)).toMatchObject({
      outcome: { kind: "succeeded", omittedBytes: 8 },
    });
  });

  test("cuts messages, stacks and reasons, wherever they stand", () => {
    const long = "x".repeat(100_000);
    const cut = withinLimits(failed(long, long));
    expect(JSON.stringify(cut).length).toBeLessThan(30_000);
    expect(cut).toMatchObject({ outcome: { kind: "failed", error: { type: "Error" } } });
    const dead = withinLimits(new Life().accepted().deadLettered(long).last);
    expect(JSON.stringify(dead).length).toBeLessThan(10_000);
  });
});
