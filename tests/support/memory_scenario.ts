/**
 * Runs orders in a pool with a memory limit; prints how they ended and what the process held, as JSON.
 * In a process of its own, so that nothing else's memory counts. The argument is a `MemoryScenario`.
 */
import type { AttemptEnd, PoolStats } from "../../src/isolates/attempt.ts";
import { ownMemoryBytes } from "../../src/platform/memory.ts";
import { makePool, order } from "./pools.ts";
import type { Order } from "./tasks/obedient.ts";
import { until } from "./waiting.ts";

interface OrderToRun {
  readonly order: Order;
  readonly isolation?: "process";
  readonly timeoutMs?: number;
}

export interface MemoryScenario {
  readonly limitBytes: number;
  readonly isolates: number;
  readonly slots?: number;
  /** Started first, all at once. */
  readonly beside?: readonly OrderToRun[];
  /** Then these, one after the other, with so long in between. */
  readonly then: readonly OrderToRun[];
  readonly pauseMs?: number;
}

export interface MemorySeen {
  readonly beside: readonly AttemptEnd[];
  readonly then: readonly AttemptEnd[];
  readonly stats: PoolStats;
  /** The most that the process held. */
  readonly peakBytes: number;
  /** What it held 5 seconds later at the latest. */
  readonly afterBytes: number;
}

const scenario: MemoryScenario = JSON.parse(process.argv[2] ?? "");
const { limitBytes, isolates, slots = 1, beside = [], then, pauseMs = 0 } = scenario;
const pool = makePool({ isolates, slots, maxMemoryBytes: limitBytes });
try {
  await pool.start();
} catch (error) {
  console.log(JSON.stringify({ refused: String(error) }));
  process.exit(0);
}
await until("all isolates serve", () => pool.freeSlots === isolates * slots);

let peakBytes = 0;
const look = setInterval(() => peakBytes = Math.max(peakBytes, ownMemoryBytes()), 5);
const run = ({ order: told, isolation, timeoutMs }: OrderToRun) =>
  pool.run(order(told, {
    ...(isolation === undefined ? {} : { isolation }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  }));
const besideEnds = Promise.all(beside.map(run));
const thenEnds: AttemptEnd[] = [];
for (const one of then) {
  thenEnds.push(await run(one));
  if (pauseMs > 0) await Bun.sleep(pauseMs);
}
const ends = await besideEnds;
clearInterval(look);
await until("the memory is given back", () => ownMemoryBytes() < limitBytes);
const seen: MemorySeen = {
  beside: ends,
  then: thenEnds,
  stats: pool.stats,
  peakBytes,
  afterBytes: ownMemoryBytes(),
};
await pool.stop();
console.log(JSON.stringify(seen));
process.exit(0);
