/**
 * Fault runs in their short form: nothing that was accepted is lost whatever breaks. All of them, and
 * longer: `deno task faults`.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { SCENARIOS } from "../../scripts/faults/scenarios.ts";
import { Brokers, runScenario } from "../../scripts/faults/trial.ts";

/** What fits into a minute of the tests. */
const CHOSEN: readonly string[] = [
  "broker-kill",
  "node-kill",
  "all-in-one-kill",
  "confirm-cut",
];

describe("no accepted job is lost, and repeated runs are marked", () => {
  const brokers = new Brokers(true);
  afterAll(() => brokers[Symbol.asyncDispose]());

  test.each(CHOSEN)("%s", async (name) => {
    const scenario = SCENARIOS.find((each) => each.name === name);
    if (scenario === undefined) throw new Error(`There is no scenario ${name}`);
    const said: string[] = [];
    const verdict = await runScenario(scenario, brokers, {
      seed: 1,
      durationMs: 1,
      isShort: true,
      slack: 5,
      say: (line) => said.push(line),
    });
    expect(verdict.checks.filter(({ isMet }) => !isMet), said.join("\n")).toEqual([]);
    expect(verdict.account?.accepted).toBeGreaterThan(0);
    expect(verdict.faults).toBeGreaterThan(0);
  }, 300_000);
});
