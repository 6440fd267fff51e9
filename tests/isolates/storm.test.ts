/** Everything at once, at random: each attempt gets the ending that it deserves, and all is whole after. */
import { expect, test } from "bun:test";
import type { AttemptEnd } from "../../src/isolates/attempt.ts";
import { order, withPool } from "../support/pools.ts";
import type { Order } from "../support/tasks/obedient.ts";
import { until } from "../support/waiting.ts";

interface Kind {
  readonly told: Order;
  readonly weight: number;
  /** Whether it is cancelled while it waits or runs. */
  readonly isCancelled?: true;
  readonly timeoutMs: number;
  readonly allowed: readonly AttemptEnd["kind"][];
}

const KINDS: readonly Kind[] = [
  { told: { return: 1 }, weight: 40, timeoutMs: 60_000, allowed: ["returned"] },
  { told: { sleep: 10 }, weight: 20, timeoutMs: 60_000, allowed: ["returned"] },
  { told: { throw: "as told" }, weight: 10, timeoutMs: 60_000, allowed: ["threw"] },
  { told: { spin: true }, weight: 4, timeoutMs: 30, allowed: ["timed_out"] },
  { told: { hang: true }, weight: 4, timeoutMs: 30, allowed: ["timed_out"] },
  { told: { exit: 1 }, weight: 4, timeoutMs: 60_000, allowed: ["isolate_died"] },
  {
    told: { deaf: true },
    weight: 4,
    timeoutMs: 60_000,
    isCancelled: true,
    allowed: ["cancelled"],
  },
  {
    told: { sleepUnlessAborted: 20 },
    weight: 8,
    timeoutMs: 60_000,
    isCancelled: true,
    allowed: ["cancelled", "returned"],
  },
];
const BAG = KINDS.flatMap((kind) => Array.from({ length: kind.weight }, () => kind));

test("a storm of all kinds of attempts leaves nobody with the wrong ending", async () => {
  await withPool({
    isolates: 2,
    slots: 3,
    cancelGraceMs: 30,
    maxTasksPerIsolate: 20,
  }, async (pool) => {
    const attempts = Array.from({ length: 400 }, async () => {
      const kind = BAG[Math.floor(Math.random() * BAG.length)] ?? BAG[0];
      if (kind === undefined) throw new Error("The bag is empty");
      const { told, timeoutMs, isCancelled, allowed } = kind;
      const abort = new AbortController();
      const end = pool.run(
        order(told, {
          timeoutMs,
          isolation: Math.random() < 0.15 ? "process" : "worker",
          alone: Math.random() < 0.05,
        }),
        { signal: abort.signal },
      );
      if (isCancelled) setTimeout(() => abort.abort(), Math.random() * 100);
      return { told, end: await end, allowed };
    });
    for (const { told, end, allowed } of await Promise.all(attempts)) {
      if (!allowed.includes(end.kind)) throw new Error(JSON.stringify({ told, end, allowed }));
    }
    expect(pool.stats).toMatchObject({ running: 0, waiting: 0 });
    await until("all slots are whole", () => pool.freeSlots === 6);
  });
}, 120_000);
