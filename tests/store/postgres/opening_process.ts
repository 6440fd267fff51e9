/** A process that opens a store and says how that went: `bun opening_process.ts URL`. */
import { PostgresStore } from "../../../src/store/postgres/postgres_store.ts";

const store = new PostgresStore({ url: process.argv[2] ?? "" });
await store.open();
await store.stats();
await store.close();
console.log("opened");
