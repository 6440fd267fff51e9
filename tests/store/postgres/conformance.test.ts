import { PostgresStore } from "../../../src/store/postgres/postgres_store.ts";
import { describeStore } from "../../conformance/store/describe_store.ts";
import { makeDatabase } from "./databases.ts";

describeStore("PostgreSQL", {
  isShared: true,
  async makePlace() {
    const url = await makeDatabase();
    return {
      create: ({ maxResultBytes } = {}) =>
        new PostgresStore({ url, ...(maxResultBytes === undefined ? {} : { maxResultBytes }) }),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
  },
  dispose: () => Promise.resolve(),
});
