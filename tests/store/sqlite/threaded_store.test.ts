/** What a thread of its own adds to the SQLite store: who waits for the disk, and a thread that ends. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { StoreRefusedError } from "../../../src/store/errors.ts";
import { createThreadedStore } from "../../../src/store/sqlite/threaded_store.ts";
import { makeFolder } from "../../support/folders.ts";

/** A thread that answers `open` and then does as it is told. */
async function storeWhoseThread(does: string) {
  const folder = await makeFolder();
  const file = folder.file("entry.ts");
  writeFileSync(
    file,
    `addEventListener("message", ({ data }) => {
       if ("dataDir" in data) return;
       if (data.method === "open") return postMessage({ number: data.number });
       ${does}
     });`,
  );
  const store = createThreadedStore({ entryUrl: pathToFileURL(file), dataDir: folder.path });
  await store.open();
  return { store, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

test.each([
  ["throws", `throw new Error("out of its depth");`, "out of its depth"],
  ["exits", `process.exit(3);`, "jobs.sqlite"],
])("whoever waits is told when the thread %s, and so is who comes later", async (_, does, told) => {
  await using scene = await storeWhoseThread(does);
  const asked = [scene.store.ping(), scene.store.stats()];
  for (const one of await Promise.allSettled(asked)) {
    expect(one.status).toBe("rejected");
    const { reason } = one as PromiseRejectedResult;
    expect(reason).toBeInstanceOf(StoreRefusedError);
    expect(reason.message).toContain(told);
  }
  const later: unknown = await scene.store.get("x").catch((error: unknown) => error);
  expect(later).toBeInstanceOf(StoreRefusedError);
  await scene.store.close();
});

test("nobody else waits while the thread is busy", async () => {
  await using scene = await storeWhoseThread(
    `const end = Date.now() + 300; while (Date.now() < end) { /* The disk is slow. */ }
     postMessage({ number: data.number });`,
  );
  let turns = 0;
  const timer = setInterval(() => turns++, 5);
  await scene.store.ping();
  clearInterval(timer);
  expect(turns).toBeGreaterThan(5);
  await scene.store.close();
});
