/** Leases: one holder at a time. */
import { expect } from "bun:test";
import { until } from "../../support/waiting.ts";
import type { StoreHarness } from "./harness.ts";
import type { SceneTest } from "./scene.ts";

const LONG_MS = 600_000;

export function leases(it: SceneTest, harness: StoreHarness): void {
  it("has one holder, who may renew it", async (scene) => {
    const store = await scene.open();
    const first = await store.acquireLease("recorder", "a", LONG_MS);
    expect(first).toMatchObject({ isHeld: true, holder: "a", term: 1 });
    expect(first.leftMs).toBeGreaterThan(LONG_MS - 60_000);
    expect(first.leftMs).toBeLessThanOrEqual(LONG_MS);
    expect(await store.acquireLease("recorder", "b", LONG_MS))
      .toMatchObject({ isHeld: false, holder: "a", term: 1 });
    expect(await store.acquireLease("recorder", "a", LONG_MS))
      .toMatchObject({ isHeld: true, holder: "a", term: 1 });
    expect(await store.acquireLease("other", "b", LONG_MS)).toMatchObject({ isHeld: true });
  });

  it("goes on to the next when it is given up, and by its holder alone", async (scene) => {
    const store = await scene.open();
    await store.acquireLease("recorder", "a", LONG_MS);
    await store.releaseLease("recorder", "b");
    expect(await store.acquireLease("recorder", "b", LONG_MS)).toMatchObject({ isHeld: false });
    await store.releaseLease("recorder", "a");
    await store.releaseLease("recorder", "a");
    expect(await store.acquireLease("recorder", "b", LONG_MS))
      .toMatchObject({ isHeld: true, holder: "b", term: 2 });
  });

  it("goes on to the next when nobody renews it", async (scene) => {
    const store = await scene.open();
    await store.acquireLease("recorder", "a", 50);
    await until(
      "the lease has run out",
      async () => (await store.acquireLease("recorder", "b", LONG_MS)).isHeld,
    );
    expect(await store.acquireLease("recorder", "a", LONG_MS))
      .toMatchObject({ isHeld: false, holder: "b", term: 2 });
  });

  it("of many who ask at the same time one holds it", async (scene) => {
    const stores = [await scene.open()];
    if (harness.isShared) stores.push(await scene.open());
    const asked = await Promise.all(
      Array.from(
        { length: 10 },
        (_, n) => stores[n % stores.length]?.acquireLease("recorder", `node-${n}`, LONG_MS),
      ),
    );
    expect(asked.filter((lease) => lease?.isHeld)).toHaveLength(1);
    expect(new Set(asked.map((lease) => lease?.holder)).size).toBe(1);
  });
}
