/**
 * What runs in the store's own thread: SQLite waits for the disk here, where nobody else waits with
 * it. Loaded by its address; see threaded_store.ts.
 */
import { SqliteStore } from "./sqlite_store.ts";
import { type Answer, noteOf, type Opening, type Question } from "./thread_protocol.ts";

let store: SqliteStore | undefined;

globalThis.addEventListener("message", ({ data }: MessageEvent<Opening | Question>) => {
  if ("dataDir" in data) {
    store = new SqliteStore(data);
    return;
  }
  answer(data).then((told) => postMessage(told));
});

async function answer({ number, method, args }: Question): Promise<Answer> {
  try {
    if (store === undefined) throw new Error(`The store was asked to ${method} before it was made`);
    return { number, value: await Reflect.apply(store[method], store, args) };
  } catch (error) {
    return { number, error: noteOf(error) };
  }
}
