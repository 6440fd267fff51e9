/** A pool that is made larger and smaller while it runs. */
import { expect, test } from "bun:test";
import { order, withPool } from "../support/pools.ts";
import { until } from "../support/waiting.ts";

test("resize() makes room for more at once, and gives it back without cutting what runs", async () => {
  await withPool({ isolates: 1, spares: 0 }, async (pool) => {
    const abort = new AbortController();
    const long = pool.run(order({ untilAborted: true }), { signal: abort.signal });
    expect(pool.freeSlots).toBe(0);
    const waiting = pool.run(order({ return: 1 }));
    pool.resize(2);
    expect(await waiting).toMatchObject({ kind: "returned", resultJson: "1" });
    expect(pool.stats).toMatchObject({ isolates: 2, running: 1 });
    const second = pool.run(order({ untilAborted: true }), { signal: abort.signal });
    pool.resize(1);
    await until("one retires", () => pool.stats.isolates === 1);
    expect(pool.stats.running).toBe(2);
    const later = pool.run(order({ return: 2 }));
    expect(pool.freeSlots).toBe(0);
    abort.abort();
    expect((await long).kind).toBe("returned");
    expect((await second).kind).toBe("returned");
    expect(await later).toMatchObject({ kind: "returned", resultJson: "2" });
    expect(pool.stats).toMatchObject({ isolates: 1, running: 0, died: 0 });
    pool.resize(3);
    pool.resize(1);
    await until("the others are gone", () => pool.stats.isolates === 1);
    expect(await pool.run(order({ return: 3 }))).toMatchObject({ resultJson: "3" });
  });
});
