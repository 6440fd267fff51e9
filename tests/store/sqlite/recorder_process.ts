/** A process that opens a store, records one job and stays: `bun recorder_process.ts DATA_DIR JOB_ID`. */
import { SqliteStore } from "../../../src/store/sqlite/sqlite_store.ts";
import { Life } from "../../jobs/job_lives.ts";

const [dataDir = "", id = ""] = process.argv.slice(2);
const store = new SqliteStore({ dataDir });
await store.open();
await store.recordEvents(new Life({ id }).accepted().started().outcome().events);
console.log("recorded");
setInterval(() => undefined, 60_000);
