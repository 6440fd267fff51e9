import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import { describeStore } from "../../conformance/store/describe_store.ts";
import { makeFolder } from "../../support/folders.ts";

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
