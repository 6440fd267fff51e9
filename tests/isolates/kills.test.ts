/** What hundreds of kills leave behind: nothing. */
import { expect, test } from "bun:test";

async function scenario(kind: string, kills: number): Promise<Record<string, number>> {
  const script = new URL("../support/kills_scenario.ts", import.meta.url).pathname;
  const child = Bun.spawn([process.execPath, script, kind, String(kills)], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  expect(await child.exited).toBe(0);
  return JSON.parse(text);
}

test.each([["worker", 1_000], ["process", 300]] as const)(
  "kills of a %s leave no memory, thread or slot behind (%p of them)",
  async (kind, kills) => {
    const seen = await scenario(kind, kills);
    expect(seen["rssAfter"]).toBeLessThan(1.1 * (seen["rssBefore"] ?? 0));
    expect(seen["threadsAfter"]).toBe(seen["threadsBefore"] ?? 0);
    expect(seen).toMatchObject({ freeSlots: 2, stats: { killed: kills, stuck: 0, running: 0 } });
  },
  120_000,
);
