import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import { createThreadedStore } from "../../../src/store/sqlite/threaded_store.ts";
import { describeStore } from "../../conformance/store/describe_store.ts";
import { makeFolder } from "../../support/folders.ts";

const entryUrl = new URL("../../../src/store/sqlite/thread_entry.ts", import.meta.url);

describeStore("SQLite", {
  isShared: false,
  async makePlace() {
    const folder = await makeFolder();
    return {
      create: (options = {}) => new SqliteStore({ dataDir: folder.file("data"), ...options }),
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    };
  },
  dispose: () => Promise.resolve(),
});

describeStore("SQLite in a thread", {
  isShared: false,
  async makePlace() {
    const folder = await makeFolder();
    return {
      create: ({ maxResultBytes } = {}) =>
        createThreadedStore({
          entryUrl,
          dataDir: folder.file("data"),
          ...(maxResultBytes === undefined ? {} : { maxResultBytes }),
        }),
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    };
  },
  dispose: () => Promise.resolve(),
});
