/**
 * The ledger in small: no accepted job is lost whatever is killed. In full:
 * `bun scripts/faults/ledger.ts`.
 */
import { describe, expect, test } from "bun:test";
import { runLedger } from "../../scripts/faults/ledger.ts";

describe("jobs that write into a ledger", () => {
  test.each([["embedded", 6_000], ["rabbitmq", 16_000]] as const)(
    "are all there in the end, as the store has it (%s)",
    async (broker, chaosMs) => {
      const report = await runLedger({
        broker,
        jobs: 500,
        delayed: 50,
        retrying: 50,
        chaosMs,
        seed: 1,
      });
      expect(report).toMatchObject({ accepted: 500, lost: [], unmarked: [], disagreeing: [] });
      expect(report.kills).toBeGreaterThanOrEqual(3);
      expect(report.extras).toBeLessThanOrEqual(report.unanswered);
    },
    180_000,
  );
});
