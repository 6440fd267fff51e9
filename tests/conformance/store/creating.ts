/** Jobs that are made before anybody is told of them: idempotency keys and unique keys. */
import { expect } from "bun:test";
import { Life, request, START } from "../../jobs/job_lives.ts";
import type { StoreHarness } from "./harness.ts";
import { beginningOf, record, type SceneTest } from "./scene.ts";

const NEVER = 0;

export function creating(it: SceneTest, harness: StoreHarness): void {
  it("makes a job that waits to be published", async (scene) => {
    const store = await scene.open();
    const life = new Life().scheduled(START + 9_000);
    const [created] = await store.create([{ event: beginningOf(life) }], NEVER);
    expect(created).toMatchObject({ kind: "created", job: { id: life.id, state: "scheduled" } });
    expect((await store.due(START + 9_000, 10)).map(({ id }) => id)).toEqual([life.id]);
  });

  it("the same key and request are the same job, another request is a conflict", async (scene) => {
    const store = await scene.open();
    const [first, second] = [new Life().accepted(), new Life().accepted()];
    const ask = (life: Life, fingerprint: string) =>
      store.create([
        { event: beginningOf(life), idempotency: { key: "order-1", fingerprint } },
      ], NEVER);
    expect(await ask(first, "f")).toMatchObject([{ kind: "created" }]);
    expect(await ask(second, "f")).toEqual([
      { kind: "existing", id: first.id, by: "idempotency" },
    ]);
    expect(await ask(second, "g")).toEqual([{ kind: "conflict", id: first.id }]);
    expect(await store.get(second.id)).toBeUndefined();
    // Whoever did not hear the answer asks again.
    expect(await ask(first, "f")).toMatchObject([{ kind: "created", job: { id: first.id } }]);
  });

  it("judges the items of one request in order", async (scene) => {
    const store = await scene.open();
    const [a, b, c] = [new Life().accepted(), new Life().accepted(), new Life().accepted()];
    const created = await store.create([
      { event: beginningOf(a), idempotency: { key: "k", fingerprint: "f" } },
      { event: beginningOf(b), idempotency: { key: "k", fingerprint: "f" } },
      { event: beginningOf(c) },
    ], NEVER);
    expect(created).toMatchObject([
      { kind: "created" },
      { kind: "existing", id: a.id, by: "idempotency" },
      { kind: "created" },
    ]);
  });

  it("forgets keys that were used too long ago", async (scene) => {
    const store = await scene.open();
    const [first, second, third] = [
      new Life().accepted(),
      new Life().accepted(),
      new Life().accepted(),
    ];
    const ask = (life: Life, since: number) =>
      store.create([
        { event: beginningOf(life), idempotency: { key: "k", fingerprint: life.id } },
      ], since);
    await ask(first, NEVER);
    expect(await ask(second, first.at)).toMatchObject([{ kind: "conflict" }]);
    expect(await ask(second, first.at + 1)).toMatchObject([{ kind: "created" }]);
    const nothing = { finishedBefore: 0, deadLetteredBefore: 0, cancelledBefore: 0 };
    await store.deleteOld(nothing, second.at + 1, 10);
    expect(await ask(third, NEVER)).toMatchObject([{ kind: "created" }]);
  });

  it("a unique key has one unfinished job", async (scene) => {
    const store = await scene.open();
    const unique = () => new Life().accepted(request({ uniqueKey: "report" }));
    const [first, second, third] = [unique(), unique(), unique()];
    const ask = (life: Life) => store.create([{ event: beginningOf(life) }], NEVER);
    expect(await ask(first)).toMatchObject([{ kind: "created" }]);
    expect(await ask(second)).toEqual([{ kind: "existing", id: first.id, by: "unique" }]);
    await record(store, first.started());
    expect(await ask(second)).toEqual([{ kind: "existing", id: first.id, by: "unique" }]);
    await record(store, first.outcome());
    expect(await ask(second)).toMatchObject([{ kind: "created" }]);
    // Late news of the first take the key from nobody.
    await record(store, first);
    expect(await ask(third)).toEqual([{ kind: "existing", id: second.id, by: "unique" }]);
  });

  it("an idempotency key that met a unique one stays with that job", async (scene) => {
    const store = await scene.open();
    const unique = () => new Life().accepted(request({ uniqueKey: "report" }));
    const [first, second] = [unique(), unique()];
    const idempotency = { key: "k", fingerprint: "f" };
    await store.create([{ event: beginningOf(first) }], NEVER);
    const ask = () => store.create([{ event: beginningOf(second), idempotency }], NEVER);
    expect(await ask()).toEqual([{ kind: "existing", id: first.id, by: "unique" }]);
    await record(store, first.outcome());
    expect(await ask()).toEqual([{ kind: "existing", id: first.id, by: "idempotency" }]);
  });

  it("many who ask for one key at the same time get one job", async (scene) => {
    const stores = [await scene.open()];
    if (harness.isShared) stores.push(await scene.open());
    const asked = Array.from({ length: 20 }, (_, index) => {
      const life = new Life().accepted(request({ uniqueKey: `u${index % 2}` }));
      return stores[index % stores.length]?.create([{
        event: beginningOf(life),
        idempotency: { key: `k${index % 4}`, fingerprint: "f" },
      }], NEVER) ?? [];
    });
    const answers = (await Promise.all(asked)).flat();
    expect(answers.filter(({ kind }) => kind === "created")).toHaveLength(2);
    expect(answers.filter(({ kind }) => kind === "existing")).toHaveLength(18);
  });
}
